import { join } from "node:path";
import { type ClinicalFeatures, clinicalNames } from "../../../audio/acoustics/clinical/clinical.ts";
import { groupBy } from "../../../corpus/group.ts";
import { loadUtterance } from "../../../corpus/load-audio.ts";
import { phoneSymbols, type Utterance } from "../../../corpus/manifest.ts";
import { UserError } from "../../../errors.ts";
import { openCorpus } from "../../../train/data.ts";
import { runFile } from "../../../train/pack.ts";
import { isPack } from "../../../train/pack-file.ts";
import { progress } from "../../../train/progress.ts";
import { parseRecipe } from "../../../train/recipe.ts";
import { writeAtomically } from "../../../weights/file.ts";
import { hearRecording, type SeverityModel } from "./hear.ts";

/**
 * What a recording is compared with: the speakers that a run learned from, by grade, and how its model represents them.
 * Made once from the run's corpus and kept beside the model, so that assessing needs no training data.
 */
export interface Reference {
  /** Speakers of the training and validation parts with their mean clinical features (null: not measurable). */
  readonly speakers: readonly {
    readonly grade: string;
    readonly features: Partial<Record<string, number | null>>;
  }[];
  /** How the model represents recordings (mean of its last hidden state), and their long-term spectra. */
  readonly representation: Profile;
  readonly spectrum: Profile;
  readonly recordings: number;
  /** Symbols of every text of the corpus, and of every word where the corpus tells them. */
  readonly texts: Readonly<Record<string, readonly string[]>>;
  readonly words: Readonly<Record<string, readonly string[]>>;
  readonly simulated: boolean;
}

/** Where recordings of the training part lie, and how far from there others may be and still be like them. */
export interface Profile {
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
  /** 1.25 times the distance that 99 of 100 recordings of validation speakers, whom the model did not learn from, keep. */
  readonly limit: number;
}

/** A margin for rooms and microphones that the validation part does not have. */
const MARGIN = 1.25;
/** A model writes down its own training speakers better than any other, so these are taken from validation alone. */
const PRONUNCIATION = ["pcc", "pcv", "pct"];

const FILE = "reference.json";

/** The reference of a run, or of a pack whose run had one when it was packed. */
export function readReference(run: string): Reference | undefined {
  const text = runFile(run, FILE);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch (error) {
    throw new UserError(`${join(run, FILE)}: is not JSON: ${(error as Error).message}`);
  }
}

/** Hears the run's training and validation parts and writes down what they are like; for a pack, this time only. */
export async function makeReference(
  model: SeverityModel,
  data: string | undefined,
  run: string,
): Promise<Reference> {
  const recipe = parseRecipe(runFile(run, "recipe.yaml")!, join(run, "recipe.yaml"));
  const corpus = await openCorpus("main", recipe.corpus, {
    data,
    cache: join(run, ".."),
    skipBad: false,
    log: () => {},
  });
  const { label } = model;
  const all = [...corpus.train, ...corpus.valid];
  const shown = progress({ label: "hearing the training speakers", total: all.length });
  const sums: {
    speaker: string;
    grade: string;
    valid: boolean;
    features: ClinicalFeatures;
    pooled: Float64Array;
    spectrum: Float64Array;
  }[] = [];
  for (const [i, utterance] of all.entries()) {
    const samples = await loadUtterance(utterance, { sampleRate: model.sampleRate });
    const { clinical, pooled, spectrum } = await hearRecording(model, samples, expectedOf(model, utterance));
    sums.push({
      speaker: utterance.speaker ?? utterance.id,
      grade: String(utterance.labels?.[label]),
      valid: i >= corpus.train.length,
      features: clinical,
      pooled,
      spectrum,
    });
    shown.update(i + 1);
  }
  shown.end();
  const profile = (of: (one: (typeof sums)[number]) => Float64Array) =>
    profileOf(sums.filter(({ valid }) => !valid).map(of), sums.filter(({ valid }) => valid).map(of));
  const reference: Reference = {
    speakers: [...groupBy(sums, ({ speaker }) => speaker).values()].map((of) => ({
      grade: of[0].grade,
      features: Object.fromEntries(
        clinicalNames.map((name) => [
          name,
          PRONUNCIATION.includes(name) && !of[0].valid
            ? null
            : meanOf(of.map(({ features }) => features[name])),
        ]),
      ),
    })),
    representation: profile(({ pooled }) => pooled),
    spectrum: profile(({ spectrum }) => spectrum),
    recordings: all.length,
    ...transcripts(model, all),
    simulated: all.some(({ simulated }) => simulated) || recipe.corpus.synthetic !== undefined,
  };
  if (!isPack(run))
    writeAtomically(join(run, FILE), (put) => put(Buffer.from(`${JSON.stringify(reference)}\n`)));
  return reference;
}

/** A profile of the training rows whose limit comes from the held-out ones, or where there are none from themselves. */
export function profileOf(training: readonly Float64Array[], held: readonly Float64Array[]): Profile {
  const { mean, deviation } = moments(training);
  const distances = (held.length > 0 ? held : training)
    .map((row) => distanceTo({ mean, deviation }, row))
    .sort((a, b) => a - b);
  const high = distances[Math.min(distances.length - 1, Math.floor(0.99 * distances.length))];
  return { mean: [...mean], deviation: [...deviation], limit: MARGIN * high };
}

/** Root mean square of the standardised differences from a profile's mean. */
export function distanceTo(
  { mean, deviation }: { readonly mean: ArrayLike<number>; readonly deviation: ArrayLike<number> },
  row: ArrayLike<number>,
): number {
  let sum = 0;
  for (let k = 0; k < row.length; k++) sum += ((row[k] - mean[k]) / (deviation[k] + 1e-6)) ** 2;
  return Math.sqrt(sum / row.length);
}

function moments(rows: readonly Float64Array[]): { mean: Float64Array; deviation: Float64Array } {
  const dim = rows[0].length;
  const [mean, deviation] = [new Float64Array(dim), new Float64Array(dim)];
  for (const row of rows) for (let k = 0; k < dim; k++) mean[k] += row[k] / rows.length;
  for (const row of rows) for (let k = 0; k < dim; k++) deviation[k] += (row[k] - mean[k]) ** 2 / rows.length;
  return { mean, deviation: deviation.map(Math.sqrt) };
}

function meanOf(values: readonly number[]): number | null {
  const known = values.filter(Number.isFinite);
  return known.length === 0 ? null : known.reduce((a, b) => a + b, 0) / known.length;
}

function expectedOf(model: SeverityModel, utterance: Utterance): string[] | undefined {
  if (model.vocabulary === undefined) return undefined;
  return model.vocabulary.decodeSymbols(model.vocabulary.encode(utterance));
}

/** A text as a key: words in lower case without punctuation. */
export const plainText = (text: string) =>
  text
    .toLowerCase()
    .replace(/[.,;:!?"]/g, " ")
    .split(/\s+/)
    .filter(Boolean)
    .join(" ");

/** What the corpus itself says of how its texts and words are written in symbols. */
function transcripts(
  model: SeverityModel,
  utterances: readonly Utterance[],
): Pick<Reference, "texts" | "words"> {
  const texts: Record<string, string[]> = {};
  const words: Record<string, string[]> = {};
  if (model.vocabulary?.options.unit !== "phones") return { texts, words };
  const known = new Set(model.vocabulary.symbols);
  for (const utterance of utterances) {
    const phones = phoneSymbols(utterance);
    if (utterance.text !== undefined && phones !== undefined) texts[plainText(utterance.text)] ??= phones;
    for (const word of utterance.words ?? []) {
      if (!Array.isArray(word)) continue;
      const bare = word[1].map((phone) => (known.has(phone) ? phone : phone.replace(/\d$/, "")));
      if (bare.every((phone) => known.has(phone))) words[plainText(word[0])] ??= bare;
    }
  }
  return { texts, words };
}
