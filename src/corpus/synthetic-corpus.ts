import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { random } from "../random.ts";
import { type Utterance, writeManifest } from "./manifest.ts";
import { sentences as builtIn } from "./sentences.ts";
import { grades, speakerProfile, utteranceProfile } from "./severity.ts";
import { speakerFolds } from "./splits.ts";
import type { SpokenTask, SpokenUtterance } from "./synthetic-speech.ts";
import { synthesizeUtterance } from "./synthetic-speech.ts";
import { WorkerPool } from "./worker-pool.ts";

export interface SyntheticCorpusOptions {
  /** Number of speakers: a voice variant with a pitch, liveliness and tempo of its own each (default 20). */
  speakers?: number;
  /** Utterances of each speaker (default 12), of different sentences as long as there are enough. */
  utterances?: number;
  /** Voice of espeak-ng without variant, which is the language (default "en-us"). */
  voice?: string;
  /** Sentences to draw from; default: built-in ones for English, German, French, Spanish, Dutch, Italian, Swedish, Russian, Turkish, Tatar, Kyrgyz and Mandarin. */
  sentences?: readonly string[];
  seed?: number;
  /** Hz (default 16000) */
  sampleRate?: number;
  /**
   * Give each speaker one of five grades of *simulated* dysarthria as the label `severity` (0 none to 4 severe), evenly
   * dealt. Every utterance passes the simulator, grade 0 too, so that its traces give nothing away (default false).
   */
  graded?: boolean;
  /** Worker threads (default: one per core, at most 4; 0 works in this thread). */
  threads?: number;
}

/** Voice variants of espeak-ng that sound like people, female and male. */
const variants = {
  female: [
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "Alicia",
    "Andrea",
    "Annie",
    "anika",
    "aunty",
    "belinda",
    "linda",
    "steph",
  ],
  male: [
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "Alex",
    "Andy",
    "Denis",
    "Gene",
    "Lee",
    "Marco",
    "Michael",
  ],
};

/**
 * Makes a corpus of synthetic speech: `folder/manifest.jsonl` and WAV files below `folder/audio`, with text, words and
 * phones (IPA, with times) from the synthesiser, the speaker's gender, and a speaker-independent split: a fifth of the
 * speakers each for test and validation. The same options make the same files. The manifest is written last, so a folder
 * that has one is complete.
 *
 * @returns the utterances, with absolute paths
 * @throws UserError where espeak-ng is missing, or an option makes no sense
 */
export async function synthesizeCorpus(
  options: SyntheticCorpusOptions,
  into: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Utterance[]> {
  const folder = resolve(into);
  const { speakers: count = 20, utterances: each = 12, voice = "en-us", seed = 1 } = options;
  const { sampleRate = 16000, graded = false } = options;
  for (const [name, value] of Object.entries({ speakers: count, utterances: each })) {
    if (!Number.isInteger(value) || value < 1)
      throw new UserError(`${name} must be a whole number above 0, not ${value}`);
  }
  const texts = options.sentences ?? builtIn[voice.split("-")[0]];
  if (texts === undefined || texts.length === 0) {
    const known = Object.keys(builtIn).join(", ");
    throw new UserError(
      `no sentences for the voice "${voice}": give some (there are built-in ones for ${known})`,
    );
  }
  const speakers = Array.from({ length: count }, (_, i) => inventSpeaker(i, voice, graded, seed));
  const plan = speakers.flatMap((speaker) => {
    const order = random(seed, "sentences", speaker.id).shuffle(texts);
    return Array.from({ length: each }, (_, i) => {
      const id = `${speaker.id}-${String(i).padStart(3, "0")}`;
      return {
        id,
        speaker,
        text: order[i % order.length],
        audio: join(folder, "audio", speaker.id, `${id}.wav`),
      };
    });
  });
  for (const { id } of speakers) mkdirSync(join(folder, "audio", id), { recursive: true });

  const threads = Math.min(options.threads ?? Math.min(4, availableParallelism()), plan.length);
  const pool =
    threads > 0
      ? new WorkerPool<SpokenTask, SpokenUtterance>(import.meta.url, "synthesis-worker", threads)
      : undefined;
  let done = 0;
  try {
    const spoken = await Promise.all(
      plan.map(async ({ id, speaker, text, audio }) => {
        const take = random(seed, "take", id); // nobody says two sentences with quite the same voice
        const { pitch, range, rate } = speaker;
        const task: SpokenTask = {
          request: {
            text,
            voice: speaker.voice,
            pitch: Math.round(pitch + 4 * (take.next() - 0.5)),
            range: Math.round(range + 10 * (take.next() - 0.5)),
            rate: Math.round(rate * (1 + 0.1 * (take.next() - 0.5))),
          },
          sampleRate,
          path: audio,
          profile: speaker.profile && utteranceProfile(speaker.profile, id, seed),
          seed: `${seed} ${id}`,
        };
        const result = await (pool?.run(task) ?? synthesizeUtterance(task));
        onProgress(++done, plan.length);
        return result;
      }),
    );
    const utterances = plan.map(({ id, speaker, text, audio }, i): Utterance => {
      const labels = { ...(graded && { severity: speaker.grade }), gender: speaker.gender };
      return {
        id,
        audio,
        speaker: speaker.id,
        text,
        ...spoken[i],
        labels,
        ...(graded && { simulated: true }),
      };
    });
    markSplit(utterances, count, graded, seed);
    writeManifest(join(folder, "manifest.jsonl"), utterances);
    return utterances;
  } finally {
    await pool?.close();
  }
}

/** True where `folder` holds a finished corpus. */
export const isComplete = (folder: string): boolean => existsSync(join(folder, "manifest.jsonl"));

function inventSpeaker(index: number, voice: string, graded: boolean, seed: number) {
  const grade = graded ? index % grades.length : 0;
  // Genders alternate within each grade.
  const turn = graded ? Math.floor(index / grades.length) : index;
  const gender = (turn + grade) % 2 === 0 ? "female" : "male";
  const id = `speaker${String(index).padStart(2, "0")}`;
  const chance = random(seed, "speaker", id);
  const known = random(seed, "variants", gender).shuffle(variants[gender]);
  return {
    id,
    grade,
    gender,
    voice: `${voice}+${known[(index >> 1) % known.length]}`,
    pitch: 38 + 26 * chance.next(),
    range: 35 + 35 * chance.next(),
    rate: 150 + 45 * chance.next(),
    profile: graded ? speakerProfile(grade, id, seed) : undefined,
  };
}

/** One fold of speakers for test, one for validation, with every grade in each where there are speakers enough. */
function markSplit(utterances: Utterance[], speakers: number, graded: boolean, seed: number): void {
  const folds = Math.min(5, graded ? Math.floor(speakers / grades.length) : speakers);
  if (folds < 3) return;
  const stratify = graded ? ["severity", "gender"] : ["gender"];
  const fold = speakerFolds(utterances, { folds, seed, stratify });
  for (const utterance of utterances) {
    utterance.split = ["test", "valid"][fold.get(utterance.speaker!)!] ?? "train";
  }
}
