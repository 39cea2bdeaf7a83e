import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { encodeWav } from "../audio/decode.ts";
import { probeFile, readAudio } from "../audio/file.ts";
import { type Degradation, degrade } from "../corpus/degradation.ts";
import { loadUtterance, type Recording } from "../corpus/load-audio.ts";
import { readManifest, type Utterance, writeManifest } from "../corpus/manifest.ts";
import { ordered } from "../corpus/ordered.ts";
import { type SpeechProfile, simulateSpeech } from "../corpus/severity.ts";
import { WorkerPool } from "../corpus/worker-pool.ts";
import { UserError } from "../errors.ts";
import { progress } from "../train/progress.ts";
import { makeFolder } from "./corpus-folder.ts";

/** What is done to a recording: worse sound, or speech of a simulated grade. */
export type Change =
  | { kind: "degrade"; steps: Degradation[]; noiseFile?: string }
  | { kind: "simulate"; profile: SpeechProfile };

/** One recording of a changed corpus, as a worker thread gets it. */
export interface ChangeTask {
  recording: Recording;
  change: Change;
  seed: string;
  /** The WAV file to write. */
  path: string;
  /** Seconds in the recording whose places in the changed one are wanted. */
  times: number[];
}

export interface Changed {
  duration: number;
  times: number[];
}

const noises = new Map<string, Float32Array>();

/** Reads, changes and writes one recording at its own rate. */
export async function changeRecording(task: ChangeTask): Promise<Changed> {
  const { recording, change, seed, path } = task;
  const { sampleRate } = await probeFile(recording.audio);
  const samples = await loadUtterance(recording, { sampleRate });
  let changed: { samples: Float32Array; timeOf: (seconds: number) => number };
  if (change.kind === "simulate") changed = simulateSpeech(samples, sampleRate, change.profile, seed);
  else {
    const steps = await withNoise(change, sampleRate);
    const faster = steps.reduce((product, step) => product * (step.kind === "speed" ? step.factor : 1), 1);
    changed = {
      samples: degrade(samples, sampleRate, steps, seed),
      timeOf: (seconds) => seconds / faster,
    };
  }
  // 16-bit files clip at 1. Where more gain was asked for, that is what it does.
  const loud = change.kind === "degrade" && change.steps.some(({ kind }) => kind === "gain");
  const peak = changed.samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const scale = loud || peak <= 1 ? 1 : 0.99 / peak;
  writeFileSync(
    path,
    encodeWav(
      changed.samples.map((x) => x * scale),
      sampleRate,
    ),
  );
  return {
    duration: changed.samples.length / sampleRate,
    times: task.times.map((seconds) => Math.round(changed.timeOf(seconds) * 1e4) / 1e4),
  };
}

async function withNoise(
  { steps, noiseFile }: Change & { kind: "degrade" },
  sampleRate: number,
): Promise<Degradation[]> {
  if (noiseFile === undefined) return steps;
  const key = `${sampleRate} ${noiseFile}`;
  const recording = noises.get(key) ?? (await readAudio(noiseFile, { sampleRate })).samples;
  noises.set(key, recording);
  return steps.map((step) => (step.kind === "noise" ? { ...step, recording } : step));
}

/** What becomes of one utterance: its new id and labels beside the change. */
export interface Plan {
  utterance: Utterance;
  change: Change;
  id?: string;
  labels?: Record<string, string | number>;
  simulated?: boolean;
}

export interface ChangeOptions {
  seed: number;
  threads?: number;
  skipBad?: boolean;
}

/** Writes the changed recordings and their manifest into a new folder. Times of phones, words and turns move along. */
export async function changeCorpus(
  manifest: string,
  folder: string,
  options: ChangeOptions,
  plan: (utterances: Utterance[]) => Plan[],
) {
  const leftOut: { id?: string; message: string }[] = [];
  const bad = (message: string, id?: string) => {
    leftOut.push({ ...(id !== undefined && { id }), message });
    process.stderr.write(`left out: ${message}\n`);
  };
  const utterances = readManifest(manifest, {
    skipBad: options.skipBad,
    onBad: ({ message }) => bad(message),
  });
  const plans = plan(utterances);
  const threads = Math.min(options.threads ?? Math.min(4, availableParallelism()), plans.length);
  return makeFolder(folder, async (work) => {
    const pool =
      threads > 1
        ? new WorkerPool<ChangeTask, Changed>(import.meta.url, "corpus-change-worker", threads)
        : undefined;
    const bar = progress({ label: "changing", total: plans.length });
    const out: Utterance[] = [];
    const run = ({ utterance, change, id = utterance.id }: Plan) => {
      const { audio, start, end } = utterance;
      const path = pathOf(work, id);
      mkdirSync(dirname(path), { recursive: true });
      const task: ChangeTask = {
        recording: { id: utterance.id, audio, start, end },
        change,
        seed: `${options.seed} ${id}`,
        path,
        times: timesOf(utterance),
      };
      return pool?.run(task) ?? changeRecording(task);
    };
    try {
      let done = 0;
      for await (const [each, result] of ordered(plans, 2 * Math.max(1, threads), run)) {
        if (result.status === "fulfilled") out.push(changedUtterance(each, work, result.value));
        else if (options.skipBad && result.reason instanceof UserError)
          bad(result.reason.message, each.utterance.id);
        else throw result.reason;
        bar.update(++done);
        if (pool === undefined) await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      bar.end();
      await pool?.close();
    }
    if (out.length === 0) throw new UserError(`${manifest}: no recording of it can be used`);
    writeManifest(join(work, "manifest.jsonl"), out);
    return { out: join(folder, "manifest.jsonl"), utterances: out.length, leftOut };
  });
}

/** Ids may hold what file names may not. */
const pathOf = (work: string, id: string) =>
  join(work, "audio", `${id.replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^\.+/, "_")}.wav`);

/** Every time that stands in an utterance, in a fixed order. */
function timesOf({ phones = [], words = [], turns = [] }: Utterance): number[] {
  return [...phones, ...words, ...turns].flatMap((item) =>
    typeof item === "object" && "start" in item ? [item.start, item.end] : [],
  );
}

function changedUtterance(
  { utterance, id, labels, simulated }: Plan,
  work: string,
  changed: Changed,
): Utterance {
  const { start: _, end: __, ...rest } = utterance;
  let next = 0;
  const moved = <Item>(items: Item[]): Item[] =>
    items.map((item) =>
      typeof item === "object" && item !== null && "start" in item
        ? { ...item, start: changed.times[next++], end: changed.times[next++] }
        : item,
    );
  const named = id ?? utterance.id;
  const { phones, words, turns } = utterance;
  return {
    ...rest,
    id: named,
    audio: pathOf(work, named),
    duration: changed.duration,
    ...(phones && { phones: moved<string | (typeof phones)[number]>(phones) as Utterance["phones"] }),
    ...(words && { words: moved(words) }),
    ...(turns && { turns: moved(turns) }),
    ...((labels || utterance.labels) && { labels: { ...utterance.labels, ...labels } }),
    ...(simulated && { simulated: true }),
  };
}
