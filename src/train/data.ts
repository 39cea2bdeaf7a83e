import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { loadUtterance } from "../corpus/load-audio.ts";
import { readManifest, type Utterance } from "../corpus/manifest.ts";
import { AudioLoader } from "../corpus/prefetch.ts";
import { readSplitFile } from "../corpus/split-file.ts";
import { type Split, splitCorpus } from "../corpus/splits.ts";
import { quote, UserError } from "../errors.ts";
import { hash32 } from "../random.ts";
import { checkTargets } from "./guard.ts";
import { lossOf } from "./losses/index.ts";
import type { Encoded, StreamAudio } from "./losses/kind.ts";
import { progress } from "./progress.ts";
import type { CorpusSpec, Objective, Recipe, SplitSpec } from "./recipe-schema.ts";
import { SignalCache } from "./signal-cache.ts";
import { Signals } from "./signals.ts";
import type { Target } from "./targets.ts";

export const PARTS = ["train", "valid", "test"] as const;
export type Part = (typeof PARTS)[number];

/** How a corpus is found and what happens to what is bad in it. */
export interface DataOptions {
  /** The folder that `--data` names. */
  readonly data?: string;
  /** Where synthetic corpora are made, and targets that audio gives are kept for the next run. */
  readonly cache: string;
  readonly skipBad: boolean;
  readonly log: (line: string) => void;
  /** Utterances to use; the others are as if the manifest did not list them. */
  readonly keep?: (utterance: Utterance) => boolean;
}

/** A corpus, divided; what was bad in its manifest is left out already. */
export interface DividedCorpus extends Split {
  readonly name: string;
  readonly spec: CorpusSpec;
}

/** Reads a recipe's corpus (or makes a synthetic one) and divides it. @throws UserError with file and line */
export async function openCorpus(
  name: string,
  spec: CorpusSpec,
  options: DataOptions,
): Promise<DividedCorpus> {
  const path =
    spec.manifest === undefined
      ? await synthesised(spec.synthetic!, spec.sampleRate, options)
      : join(options.data ?? ".", spec.manifest);
  const all = [divide(path, spec.split, options)];
  for (const { manifest, split } of spec.also)
    all.push(divide(join(options.data ?? ".", manifest), split, options));
  return { name, spec, ...joined(all) };
}

function divide(path: string, split: SplitSpec, options: DataOptions): Split {
  const utterances = readManifest(path, {
    skipBad: options.skipBad,
    onBad: ({ message }) => options.log(`left out: ${message}`),
  });
  const division = split.by === "list" ? readSplitFile(split.file, split.corpus) : split;
  const used = options.keep === undefined ? utterances : utterances.filter(options.keep);
  return splitCorpus(used, division, { allowSpeakerOverlap: split.allowSpeakerOverlap });
}

/** Several divided corpora as one. */
function joined(all: readonly Split[]): Split {
  if (all.length === 1) return all[0];
  const ids = new Set<string>();
  for (const split of all)
    for (const { id } of PARTS.flatMap((part) => split[part])) {
      if (ids.has(id)) throw new UserError(`corpus.also: the id ${quote(id)} is in two of the corpora`);
      ids.add(id);
    }
  const part = (name: Part) => all.flatMap((split) => split[name]);
  const known = all.map(({ speakerIndependent }) => speakerIndependent);
  return {
    train: part("train"),
    valid: part("valid"),
    test: part("test"),
    speakerIndependent: known.includes(false) ? false : known.includes(undefined) ? undefined : true,
  };
}

/** The folder of a synthetic corpus, which is made once and found again by its settings. */
async function synthesised(
  settings: NonNullable<CorpusSpec["synthetic"]>,
  sampleRate: number,
  { data, cache, log }: DataOptions,
): Promise<string> {
  // Loaded only here: the synthesiser is an optional package.
  const { isComplete, synthesizeCorpus } = await import("../corpus/synthetic-corpus.ts");
  const key = hash32(JSON.stringify({ ...settings, sampleRate })).toString(16);
  const folder = data ?? join(cache, `synthetic-${key}`);
  if (isComplete(folder)) return folder;
  const { speakers, utterances } = settings;
  log(`making ${speakers * utterances} synthetic utterances in ${folder}`);
  const shown = progress({ label: "synthesis", total: speakers * utterances });
  await synthesizeCorpus({ ...settings, sampleRate }, folder, (done) => shown.update(done));
  shown.end();
  return folder;
}

/** What one utterance is to the trainer. */
export interface Item {
  readonly utterance: Utterance;
  /** Samples at the corpus's rate. */
  readonly samples: number;
  readonly frames: number;
  /** By objective; what audio itself gives, frame by frame, as typed arrays. */
  readonly targets: Readonly<Record<string, Encoded>>;
}

/** A corpus ready for training: measured, encoded, its audio behind a loader that shares the items' indices. */
export interface Stream {
  readonly name: string;
  readonly spec: CorpusSpec;
  readonly batch: Recipe["batch"];
  readonly items: readonly Item[];
  readonly parts: Readonly<Record<Part, readonly number[]>>;
  readonly speakerIndependent: boolean | undefined;
  readonly loader: AudioLoader;
  /** The targets of its objectives, with whatever was fitted to the training part. */
  readonly targets: ReadonlyMap<string, Target>;
}

/** What `openStream` needs to know of an objective. */
export interface Asked {
  readonly name: string;
  readonly spec: Objective;
  readonly target: Target;
}

export interface StreamOptions extends DataOptions {
  readonly batch: Recipe["batch"];
  readonly longTargets: "refuse" | "skip";
  readonly frames: (samples: number) => number;
  /** Samples between the model's frames, and the pre-trained model, for targets that the audio gives. */
  readonly hop: number;
  readonly model: string | undefined;
  /** The fastest that training utterances are played: their targets must fit then, too. */
  readonly fastest: number;
  /** The parts that are wanted, all by default. */
  readonly parts?: readonly Part[];
  readonly threads: number;
}

/** Whether sound files are read sooner than a thread that reads them has started. */
function isTiny(paths: readonly string[]): boolean {
  let left = 1 << 20;
  for (const path of new Set(paths)) {
    left -= statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (left < 0) return false;
  }
  return true;
}

/**
 * Encodes every target and decodes every recording once, so that whatever is wrong with the data is said before
 * training starts; the decoded audio stays in memory as far as it fits.
 */
export async function openStream(
  corpus: DividedCorpus,
  objectives: readonly Asked[],
  options: StreamOptions,
): Promise<Stream> {
  const { spec: corpusSpec } = corpus;
  const { log, skipBad } = options;
  const leaveOut = (error: unknown) => {
    if (!skipBad || !(error instanceof UserError)) throw error;
    log(`left out: ${error.message}`);
  };
  const candidates: { utterance: Utterance; part: Part; targets: Item["targets"] }[] = [];
  const wanted = options.parts ?? PARTS;
  for (const part of wanted)
    for (const utterance of corpus[part]) {
      try {
        const targets = Object.fromEntries(
          objectives.map(({ name, spec, target }) => [name, lossOf(spec).encode(target, utterance)]),
        );
        candidates.push({ utterance, part, targets });
      } catch (error) {
        leaveOut(error);
      }
    }

  const loader = new AudioLoader(
    candidates.map(({ utterance }) => utterance),
    {
      sampleRate: corpusSpec.sampleRate,
      refuseOtherRates: !corpusSpec.resample,
      normalize: corpusSpec.normalize,
      threads: isTiny(candidates.map(({ utterance }) => utterance.audio)) ? 0 : options.threads,
      cacheBytes: 2 ** 30,
    },
  );
  try {
    const samples = await measure(loader, candidates.length, corpus.name, leaveOut);
    const items: Item[] = [];
    const parts: Record<Part, number[]> = { train: [], valid: [], test: [] };
    for (const [i, { utterance, part, targets }] of candidates.entries()) {
      const count = samples[i] ?? 0;
      items.push({ utterance, targets, samples: count, frames: Math.max(0, options.frames(count)) });
      if (samples[i] === undefined) continue;
      if (usable(items[i], part, corpusSpec, log)) parts[part].push(i);
    }
    for (const { name, spec } of objectives) {
      if (!lossOf(spec).aligned?.(spec)) continue;
      for (const part of wanted) dropLong(parts, part, items, name, options);
    }
    if (wanted.includes("train") && parts.train.length === 0)
      throw new UserError(`corpus ${corpus.name}: no utterance is left to train on`);
    const targets = await derive(items, parts, loader, objectives, corpusSpec, options);
    return {
      name: corpus.name,
      spec: corpusSpec,
      batch: options.batch,
      items,
      parts,
      speakerIndependent: corpus.speakerIndependent,
      loader,
      targets,
    };
  } catch (error) {
    await loader.close();
    throw error;
  }
}

/** Lets the losses whose targets audio gives make them, in place; returns all objectives' targets. */
async function derive(
  items: readonly Item[],
  parts: Readonly<Record<Part, readonly number[]>>,
  loader: AudioLoader,
  objectives: readonly Asked[],
  { sampleRate, resample }: CorpusSpec,
  { hop, model, log, fastest, cache }: StreamOptions,
): Promise<Map<string, Target>> {
  const targets = new Map(objectives.map(({ name, target }) => [name, target]));
  const used = PARTS.flatMap((part) => parts[part]);
  const raw = (index: number) =>
    loadUtterance(items[index].utterance, { sampleRate, refuseOtherRates: !resample });
  const audio: StreamAudio = {
    sampleRate,
    hop,
    model,
    train: parts.train,
    signals: new Signals(sampleRate, raw, new SignalCache(join(cache, "signal-cache"), log)),
    frames: (index) => items[index].frames,
    wave: (index) => loader.load(index),
    async *every(what) {
      const shown = progress({ label: what, total: used.length });
      for (const [done, index] of used.entries()) {
        yield index;
        shown.update(done + 1);
      }
      shown.end();
    },
    log,
  };
  for (const objective of objectives) {
    const kind = lossOf(objective.spec);
    if (kind.derive === undefined) continue;
    if (fastest !== 1)
      throw new UserError(
        `augment.speed: moves the frames, so objectives.${objective.name}, whose targets are read off the audio as it is, cannot be trained with it`,
      );
    const { target, values } = await kind.derive(objective, audio);
    targets.set(objective.name, target);
    for (const [index, value] of values) Object.assign(items[index].targets, { [objective.name]: value });
  }
  return targets;
}

/** Samples of every utterance; undefined for those that cannot be read and are left out. */
async function measure(
  loader: AudioLoader,
  count: number,
  name: string,
  leaveOut: (error: unknown) => void,
): Promise<(number | undefined)[]> {
  const shown = progress({
    label: name === "main" ? "reading audio" : `reading audio of ${name}`,
    total: count,
  });
  const samples: (number | undefined)[] = [];
  // Some at a time: enough for the threads, few enough for the memory.
  const AHEAD = 16;
  for (let at = 0; at < count; at += AHEAD) {
    const indices = Array.from({ length: Math.min(AHEAD, count - at) }, (_, i) => at + i);
    for (const result of await Promise.allSettled(indices.map((i) => loader.load(i)))) {
      if (result.status === "rejected") leaveOut(result.reason);
      samples.push(result.status === "fulfilled" ? result.value.length : undefined);
    }
    shown.update(samples.length);
  }
  shown.end();
  return samples;
}

function usable(item: Item, part: Part, spec: CorpusSpec, log: (line: string) => void): boolean {
  const { utterance, samples, frames } = item;
  const seconds = samples / spec.sampleRate;
  const said = `utterance ${quote(utterance.id)} of ${seconds.toFixed(2)} s`;
  if (part !== "train") {
    if (frames > 0) return true;
    throw new UserError(
      `${said} is too short for a single frame of the model; leave it out of the ${part} part`,
    );
  }
  if (frames > 0 && seconds >= spec.minSeconds && seconds <= spec.maxSeconds) return true;
  log(`left out: ${said} is outside of ${spec.minSeconds} to ${spec.maxSeconds} s`);
  return false;
}

function dropLong(
  parts: Record<Part, number[]>,
  part: Part,
  items: readonly Item[],
  objective: string,
  { longTargets, skipBad, log, frames, fastest }: StreamOptions,
): void {
  const utterances = parts[part].map((i) => ({
    id: items[i].utterance.id,
    frames: part === "train" ? frames(Math.floor(items[i].samples / fastest)) : items[i].frames,
    targets: Array.from(items[i].targets[objective]),
  }));
  const long = new Set(checkTargets(utterances, objective, skipBad ? "skip" : longTargets));
  for (const id of long) log(`left out: utterance ${quote(id)} has more targets of ${objective} than frames`);
  if (long.size > 0) parts[part] = parts[part].filter((i) => !long.has(items[i].utterance.id));
}

/** Names what a run learned from: the same for the same utterances, targets and lengths, wherever the files lie. */
export function hashOf(streams: readonly Stream[]): string {
  const hash = createHash("sha256");
  for (const { name, items, parts } of streams)
    for (const part of PARTS)
      for (const i of parts[part]) {
        const { utterance, samples, targets } = items[i];
        // What audio gives is a function of it and of the recipe.
        const given = Object.entries(targets).filter(([, target]) => Array.isArray(target));
        const line = [name, part, utterance.id, samples, Object.fromEntries(given)];
        hash.update(`${JSON.stringify(line)}\n`);
      }
  return hash.digest("hex").slice(0, 16);
}
