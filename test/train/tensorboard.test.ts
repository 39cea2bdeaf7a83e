import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { EVENTS_FILE, openEvents, scalarsOf, tfRecord } from "../../src/train/tensorboard.ts";

// What tensorboard 2.21's RecordWriter makes of the bytes "hello"; its EventAccumulator reads whole files of ours.
const HELLO = "0500000000000000eab2043e68656c6c6fbb1f1c19";

it("names scalars by what they are of", () => {
  const train = {
    step: 3,
    event: "train",
    loss: 2,
    losses: { digit: 1.5 },
    measures: { "c.accuracy": 0.5 },
    lr: 0.1,
  };
  expect(scalarsOf(train)).toEqual([
    ["train/loss", 2],
    ["train/digit", 1.5],
    ["train/c.accuracy", 0.5],
    ["train/lr", 0.1],
  ]);
  const valid = { step: 3, event: "valid", loss: 1, metrics: { "digit.accuracy": 0.25 }, best: true };
  expect(scalarsOf(valid)).toEqual([
    ["valid/loss", 1],
    ["valid/digit.accuracy", 0.25],
  ]);
  expect(scalarsOf({ step: 0, event: "start", parameters: 5 })).toEqual([]);
});

it("frames records as TensorFlow does", () => {
  expect(tfRecord(Buffer.from("hello")).toString("hex")).toBe(HELLO);
});

it("writes one whole file of events, what the log held before included", () => {
  const folder = mkdtempSync(join(tmpdir(), "events-"));
  const line = (step: number) => ({ step, event: "train", loss: 1 / step });
  const first = openEvents(folder, []);
  for (const step of [1, 2, 3]) first.write(line(step));
  first.close();
  const size = readFileSync(join(folder, EVENTS_FILE)).length;
  // Resumed after step 2: step 3 is written once.
  const again = openEvents(folder, [line(1), line(2)]);
  again.write(line(3));
  again.close();
  expect(readFileSync(join(folder, EVENTS_FILE)).length).toBe(size);
});
