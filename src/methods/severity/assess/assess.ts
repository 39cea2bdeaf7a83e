import { basename } from "node:path";
import { type ClinicalFeatures, clinicalNames } from "../../../audio/acoustics/clinical/clinical.ts";
import { percentile } from "../../../audio/acoustics/functionals.ts";
import { type Lexicon, readLexicon } from "../../../corpus/lexicon.ts";
import { UserError } from "../../../errors.ts";
import { softmax } from "../../../metrics/calibration.ts";
import { type AlignedPair, align } from "../../../metrics/error-rate.ts";
import type { HeardSymbol } from "../grade.ts";
import { type Temperature, temperatureOf } from "./calibration.ts";
import { hearRecording, openSeverityModel, type SeverityModel } from "./hear.ts";
import { faultsOf, type Quality, qualityOf } from "./quality.ts";
import {
  distanceTo,
  makeReference,
  type Profile,
  plainText,
  type Reference,
  readReference,
} from "./reference.ts";

/** One recording, judged. */
export interface Assessment {
  readonly name: string;
  readonly path: string;
  readonly session?: string;
  readonly samples: Float32Array;
  readonly sampleRate: number;
  readonly quality: Quality;
  /** Why no grade is given, a sentence each; empty where one is. */
  readonly abstained: readonly string[];
  /** Calibrated probabilities in the order of the classes, also where no grade is given. */
  readonly probabilities: readonly number[];
  /** The likeliest class, absent where no grade is given. */
  readonly grade?: string;
  readonly heard: readonly HeardSymbol[];
  /** With a text: expected and heard symbols side by side, and the expected ones in time. */
  readonly expected?: readonly string[];
  readonly alignment?: readonly AlignedPair[];
  readonly aligned?: readonly HeardSymbol[];
  readonly clinical: ClinicalFeatures;
  /** How far it lies from the training recordings, in standard deviations, and what validation recordings stay below. */
  readonly likeness?: Readonly<
    Record<"representation" | "spectrum", { readonly distance: number; readonly limit: number }>
  >;
}

/** Several recordings of a speaker taken together. */
export interface Pooled {
  /** Those that were graded. */
  readonly recordings: number;
  readonly grade?: string;
  /** Mean of the recordings' calibrated probabilities. */
  readonly probabilities: readonly number[];
  /** Mean place on the scale that the probabilities expect: 0 for the first class. */
  readonly place: number;
  /** How many recordings got each class. */
  readonly votes: readonly number[];
}

/** A clinical feature beside those of the training speakers. */
export interface Place {
  readonly feature: string;
  readonly value: number;
  /** Median, tenth and ninetieth percentile of the speakers of each class; NaN where none has it. */
  readonly grades: readonly {
    readonly grade: string;
    readonly median: number;
    readonly low: number;
    readonly high: number;
    readonly speakers: number;
  }[];
  /** Classes whose tenth-to-ninetieth range has the value. */
  readonly within: readonly string[];
}

export interface SpeakerAssessment {
  readonly model: string;
  readonly label: string;
  readonly classes: readonly string[];
  readonly speaker?: string;
  readonly text?: string;
  readonly recordings: readonly Assessment[];
  readonly pooled: Pooled;
  /** By session in the order given; empty with fewer than two. */
  readonly sessions: readonly ({ readonly session: string } & Pooled)[];
  readonly places: readonly Place[];
  readonly temperature: Temperature;
  /** Absent where the run has no reference and no corpus was given to make one. */
  readonly reference?: Pick<Reference, "recordings" | "simulated"> & { readonly speakers: number };
}

export interface AssessOptions {
  readonly speaker?: string;
  readonly text?: string;
  /** Symbols instead of a text. */
  readonly symbols?: readonly string[];
  /** A pronunciation lexicon for words that the training corpus does not tell. */
  readonly lexicon?: string;
  /** One for each recording. */
  readonly sessions?: readonly string[];
  /** The run's corpus, from which a missing reference is made. */
  readonly data?: string;
  /** Of a pack: the model that its masks are over, by default where its run had it. */
  readonly backbone?: string;
  readonly threads?: number;
}

const UNLIKE = [
  ["representation", "what the model makes of it"],
  ["spectrum", "its long-term spectrum"],
] as const;

/** A loaded model that assesses speakers. Dispose it when done. */
export class Assessor {
  readonly model: SeverityModel;
  readonly temperature: Temperature;
  readonly reference: Reference | undefined;
  private readonly run: string;

  private constructor(run: string, model: SeverityModel, reference: Reference | undefined) {
    this.run = run;
    this.model = model;
    this.reference = reference;
    this.temperature = temperatureOf(run, model.severity);
  }

  /** Opens a run's folder or a mask pack. @throws UserError where it holds no model that grades */
  static async open(
    run: string,
    { data, ...options }: Pick<AssessOptions, "threads" | "data" | "backbone"> = {},
  ): Promise<Assessor> {
    const model = await openSeverityModel(run, options);
    const reference =
      readReference(run) ?? (data === undefined ? undefined : await makeReference(model, data, run));
    return new Assessor(run, model, reference);
  }

  /** Judges recordings of one speaker. @throws UserError naming the file that cannot be read, or the word that is not known */
  async assess(paths: readonly string[], options: AssessOptions = {}): Promise<SpeakerAssessment> {
    const { speaker, text, sessions } = options;
    if (sessions !== undefined && sessions.length !== paths.length)
      throw new UserError(
        `--sessions: names ${sessions.length} sessions for ${paths.length} recordings; give one for each`,
      );
    const expected = this.expected(options);
    const recordings: Assessment[] = [];
    for (const [i, path] of paths.entries()) {
      const samples = await this.model.inference.read(path);
      recordings.push({ ...(await this.one(path, samples, expected)), session: sessions?.[i] });
    }
    const { classes, label } = this.model;
    const order = [...new Set(sessions ?? [])];
    return {
      ...{ model: this.run, label, classes, speaker, text, recordings },
      pooled: pooledOf(recordings, classes),
      sessions:
        order.length < 2
          ? []
          : order.map((session) => ({
              session,
              ...pooledOf(
                recordings.filter((one) => one.session === session),
                classes,
              ),
            })),
      places: this.reference === undefined ? [] : placesOf(recordings, this.reference, classes),
      temperature: this.temperature,
      ...(this.reference && {
        reference: {
          recordings: this.reference.recordings,
          simulated: this.reference.simulated,
          speakers: this.reference.speakers.length,
        },
      }),
    };
  }

  private async one(
    path: string,
    samples: Float32Array,
    expected: readonly string[] | undefined,
  ): Promise<Assessment> {
    const { model, reference, temperature } = this;
    const quality = qualityOf(samples, model.sampleRate);
    const abstained = faultsOf(quality);
    let result: Awaited<ReturnType<typeof hearRecording>>;
    try {
      result = await hearRecording(model, samples, expected);
    } catch (error) {
      if (error instanceof UserError) throw new UserError(`${path}: ${error.message}`);
      throw error;
    }
    const away = (profile: Profile, row: Float64Array) => ({
      distance: distanceTo(profile, row),
      limit: profile.limit,
    });
    const likeness = reference && {
      representation: away(reference.representation, result.pooled),
      spectrum: away(reference.spectrum, result.spectrum),
    };
    for (const [kind, what] of UNLIKE) {
      const { distance, limit } = likeness?.[kind] ?? { distance: 0, limit: 1 };
      if (distance > limit)
        abstained.push(
          `it is unlike the training data: ${what} lies ${distance.toFixed(2)} standard deviations from theirs, and recordings of speakers that the model did not learn from stay below ${limit.toFixed(2)}`,
        );
    }
    const probabilities = [...softmax(result.scores, temperature.temperature)];
    const top = probabilities.indexOf(Math.max(...probabilities));
    return {
      ...{
        name: basename(path),
        path,
        samples,
        sampleRate: model.sampleRate,
        quality,
        abstained,
        probabilities,
      },
      ...(abstained.length === 0 && { grade: model.classes[top] }),
      heard: result.heard,
      ...(expected && {
        expected,
        alignment: align(
          expected,
          result.heard.map(({ symbol }) => symbol),
        ),
      }),
      ...(result.aligned && { aligned: result.aligned }),
      clinical: result.clinical,
      ...(likeness && { likeness }),
    };
  }

  /** The symbols of what was read. @throws UserError naming the word that nothing says how to write */
  private expected({ text, symbols, lexicon }: AssessOptions): readonly string[] | undefined {
    const { vocabulary } = this.model;
    if (text === undefined && symbols === undefined) return undefined;
    if (vocabulary === undefined)
      throw new UserError(`${this.run}: its model writes nothing down, so it has no use for a text`);
    if (symbols !== undefined) return vocabulary.decodeSymbols(vocabulary.encodeSymbols(symbols, "--phones"));
    const { unit } = vocabulary.options;
    if (unit !== "phones")
      return vocabulary.decodeSymbols(vocabulary.encode({ id: "--text", audio: "", text }));
    const known = this.reference?.texts[plainText(text!)];
    if (known !== undefined) return known;
    const pronunciations = lexicon === undefined ? undefined : readLexicon(lexicon);
    return plainText(text!)
      .split(" ")
      .flatMap((word) => this.wordSymbols(word, pronunciations));
  }

  private wordSymbols(word: string, lexicon: Lexicon | undefined): readonly string[] {
    const found = this.reference?.words[word] ?? lexicon?.get(word.toUpperCase())?.[0];
    if (found === undefined)
      throw new UserError(
        `--text: nothing says how "${word}" is pronounced; the training corpus has no such word, so name a --lexicon that does, or give --phones instead`,
      );
    const has = new Set(this.model.vocabulary!.symbols);
    return found.map((phone) => (has.has(phone) ? phone : phone.replace(/\d$/, "")));
  }

  dispose(): Promise<void> {
    return this.model.inference.dispose();
  }
}

/** Recordings that were graded, taken together: the mean of their probabilities. */
export function pooledOf(recordings: readonly Assessment[], classes: readonly string[]): Pooled {
  const graded = recordings.filter(({ grade }) => grade !== undefined);
  const probabilities = classes.map(
    (_, k) => graded.reduce((sum, one) => sum + one.probabilities[k], 0) / Math.max(1, graded.length),
  );
  return {
    recordings: graded.length,
    ...(graded.length > 0 && { grade: classes[probabilities.indexOf(Math.max(...probabilities))] }),
    probabilities,
    place: graded.length === 0 ? Number.NaN : probabilities.reduce((sum, p, k) => sum + k * p, 0),
    votes: classes.map((name) => graded.filter(({ grade }) => grade === name).length),
  };
}

/** Each measurable feature, mean over the recordings, beside the training speakers of every class. */
export function placesOf(
  recordings: readonly Assessment[],
  { speakers }: Pick<Reference, "speakers">,
  classes: readonly string[],
): Place[] {
  return clinicalNames.flatMap((feature): Place[] => {
    const own = recordings.map(({ clinical }) => clinical[feature]).filter(Number.isFinite);
    if (own.length === 0) return [];
    const value = own.reduce((a, b) => a + b, 0) / own.length;
    const grades = classes.map((grade) => {
      const values = speakers
        .filter((one) => one.grade === grade)
        .map(({ features }) => features[feature])
        .filter((x): x is number => typeof x === "number")
        .sort((a, b) => a - b);
      const at = (p: number) => (values.length === 0 ? Number.NaN : percentile(Float64Array.from(values), p));
      return { grade, median: at(0.5), low: at(0.1), high: at(0.9), speakers: values.length };
    });
    const within = grades.filter(({ low, high }) => value >= low && value <= high).map(({ grade }) => grade);
    return [{ feature, value, grades, within }];
  });
}
