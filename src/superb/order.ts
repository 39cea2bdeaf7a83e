import { createHash } from "node:crypto";
import { lengthBuckets } from "../corpus/batches.ts";
import { random } from "../random.ts";
import type { FeatureSource } from "./features.ts";
import type { LearnedTask, ProbeTask } from "./task.ts";

/** Tasks whose parts hold the same recordings in the same order and that want the same batches. */
export function groupsOf(tasks: readonly LearnedTask[]): LearnedTask[][] {
  const groups = new Map<string, LearnedTask[]>();
  for (const task of tasks) {
    const { batch, sampling } = task.recipe;
    // A balanced order follows a task's own classes.
    const own = sampling === "balanced" ? task.name : "";
    const key = JSON.stringify([batch, sampling, own, recordings(task)]);
    groups.set(key, [...(groups.get(key) ?? []), task]);
  }
  return [...groups.values()];
}

const recordings = ({ items, parts }: ProbeTask) =>
  [parts.train, parts.valid, parts.test].map((part) =>
    part.map((i) => {
      const { utterance, maxSamples } = items[i];
      return [utterance.id, utterance.audio, utterance.start, utterance.end, maxSamples];
    }),
  );

/** Names what a probe learned from and was tested on, wherever the files lie. */
export function dataHash({ items, parts }: ProbeTask): string {
  const hash = createHash("sha256");
  for (const [part, list] of Object.entries(parts))
    for (const i of list) {
      const { utterance, maxSamples } = items[i];
      const { audio: _, ...rest } = utterance;
      hash.update(`${JSON.stringify([part, rest, maxSamples])}\n`);
    }
  return hash.digest("hex").slice(0, 16);
}

/** The batches of updates, as positions in the training part: a function of (seed, step). */
export class Order {
  private readonly task: LearnedTask;
  private readonly frames: number[];
  private readonly seed: number;
  private epoch: { number: number; batches: number[][] } | undefined;

  constructor(task: LearnedTask, source: FeatureSource, seed: number) {
    this.task = task;
    this.seed = seed;
    this.frames = task.parts.train.map((i) => source.framesOf(task.items[i]));
  }

  at(step: number): readonly number[] {
    const perEpoch = Math.max(1, Math.ceil(this.frames.length / this.task.recipe.batch));
    const number = Math.floor(step / perEpoch);
    if (this.epoch?.number !== number) this.epoch = { number, batches: this.batches(number) };
    return this.epoch.batches[step % perEpoch];
  }

  private batches(epoch: number): number[][] {
    const { batch, sampling } = this.task.recipe;
    if (sampling === "balanced") return this.balanced(epoch);
    const buckets = sampling === "shuffle" ? { buckets: 1 } : {};
    return lengthBuckets(this.frames, { batchSize: batch, seed: this.seed, epoch, ...buckets });
  }

  /** As many draws as there are recordings, each class as likely as any other. */
  private balanced(epoch: number): number[][] {
    const { parts, recipe, classOf } = this.task;
    const byClass = new Map<number, number[]>();
    for (const [position, item] of parts.train.entries()) {
      const label = classOf?.(item) ?? 0;
      byClass.set(label, [...(byClass.get(label) ?? []), position]);
    }
    const classes = [...byClass.values()];
    const chance = random(this.seed, "balanced", epoch);
    const drawn = parts.train.map(() => {
      const members = classes[chance.int(classes.length)];
      return members[chance.int(members.length)];
    });
    const batches: number[][] = [];
    for (let at = 0; at < drawn.length; at += recipe.batch) batches.push(drawn.slice(at, at + recipe.batch));
    return batches;
  }
}
