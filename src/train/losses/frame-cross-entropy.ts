import { z } from "zod";
import type { Phone, Utterance } from "../../corpus/manifest.ts";
import { LabelVocabulary, withoutStress } from "../../corpus/vocab.ts";
import { quote, UserError } from "../../errors.ts";
import * as ops from "../../ops/index.ts";
import { i32 } from "../../runtime/program.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { head as applyHead } from "../heads.ts";
import { key } from "../schema-basics.ts";
import type { FrameClassTarget } from "../targets.ts";
import { head, objectiveKeys, targetKey } from "./keys.ts";
import { answersOf, type Encoded, type FrameTimes, type LossKind } from "./kind.ts";

const schema = z.strictObject({
  loss: key(z.literal("frame-cross-entropy"), "The phone that is spoken in each frame."),
  target: targetKey(/^phones$/, "`phones` for frame-cross-entropy", "The manifest's `phones`, with times."),
  pool: key(z.literal("none"), "`none`: every frame has a class of its own.").default("none"),
  head,
  dropStress: key(z.boolean(), "Drop stress marks from phones.").default(false),
  ...objectiveKeys,
});

/** Frames that no phone covers have no class: they count neither in the loss nor in the accuracy. */
const NONE = -1;

/** An utterance's target is a list of (class, first millisecond, last millisecond exclusive). */
const FIELDS = 3;

/** Cross-entropy of the phone in each frame, averaged over an utterance's frames (phoneme classification; Speech-FT, appendix D.1). */
export const frameCrossEntropy: LossKind<typeof schema, FrameClassTarget> = {
  schema,
  metrics: () => ["frameAccuracy"],
  target({ dropStress }, { utterances, corpus: { symbols } }) {
    const bare = (phone: string) => (dropStress ? withoutStress(phone) : phone);
    const found = symbols ?? utterances.flatMap((each) => timedPhones(each).map(({ phone }) => phone));
    const classes = [...new Set(found.map(bare))].sort();
    if (classes.length < 2)
      throw new UserError(
        `objective phones: there are fewer than two phones to tell apart: ${classes.join()}`,
      );
    return { kind: "frame-class", labels: new LabelVocabulary("phones", classes), dropStress };
  },
  encode({ labels, dropStress }, utterance) {
    return timedPhones(utterance).flatMap(({ phone, start, end }) => {
      const name = dropStress ? withoutStress(phone) : phone;
      const index = labels.classes.indexOf(name);
      if (index < 0)
        throw new UserError(
          `utterance ${quote(utterance.id)} has the phone ${quote(name)}, which no training utterance has; corpus.symbols can declare it`,
        );
      return [index, Math.round(1000 * start), Math.round(1000 * end)];
    });
  },
  feeds({ name }, rows, { times, width }) {
    const labels = new Int32Array(rows.length * width).fill(NONE);
    for (const [b, row] of rows.entries()) labels.set(framewise(row, times[b]), b * width);
    return { [`labels.${name}`]: i32([rows.length, width], labels) };
  },
  over: () => "utterances",
  term({ spec, target }, { features, valid, head: p, training, input }) {
    const size = target.labels.classes.length;
    const scores = applyHead({ features, valid, spec: spec.head, pool: "none", size, training }, p);
    const [batch, frames] = scores.shape;
    const each = () => {
      const labels = ops.reshape(input("labels", [batch, frames], "i32"), [batch, frames, 1]);
      const chosen = ops.cast(ops.equal(labels, ops.reshape(ops.range(size), [1, 1, size])), "f32");
      const sum = (x: Tensor) => ops.reduceSum(x, [1, 2]);
      return ops.neg(ops.div(sum(ops.mul(ops.logSoftmax(scores), chosen)), ops.maximum(sum(chosen), 1)));
    };
    return { scores, each };
  },
  answer({ labels: { classes } }, { scores, frames, truth, times }) {
    const wanted = framewise(truth, times);
    let [counted, correct] = [0, 0];
    for (let t = 0; t < frames; t++) {
      if (wanted[t] === NONE) continue;
      const row = scores.subarray(t * classes.length, (t + 1) * classes.length);
      let best = 0;
      for (let c = 1; c < row.length; c++) if (row[c] > row[best]) best = c;
      counted++;
      if (best === wanted[t]) correct++;
    }
    return { kind: "frames", frames: counted, sums: { correct } };
  },
  score(_, answers) {
    const of = answersOf("frames", answers);
    const total = (value: (a: (typeof of)[number]) => number) => of.reduce((sum, a) => sum + value(a), 0);
    return { frameAccuracy: total((a) => a.sums.correct) / total((a) => a.frames) };
  },
};

function timedPhones(utterance: Utterance): Phone[] {
  const { id, phones } = utterance;
  const timed = phones?.filter((phone): phone is Phone => typeof phone !== "string") ?? [];
  if (phones === undefined || timed.length < phones.length || timed.length === 0)
    throw new UserError(
      `utterance ${quote(id)} has no phones with times, which frame-cross-entropy needs; \`voxsmith corpus alignments\` adds them`,
    );
  return timed;
}

/** The class of each frame: the phone that lies over the frame's middle. */
function framewise(row: Encoded, { frames, middle }: FrameTimes): Int32Array {
  const out = new Int32Array(frames).fill(NONE);
  for (let t = 0, at = 0; t < frames; t++) {
    const ms = 1000 * middle(t);
    while (at < row.length && row[at + 2] <= ms) at += FIELDS;
    if (at < row.length && row[at + 1] <= ms) out[t] = row[at];
  }
  return out;
}
