import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { evaluateRun } from "../../src/train/evaluate-run.ts";
import { readRun } from "../../src/train/run-folder.ts";
import { train } from "../../src/train/trainer.ts";
import { recipe } from "./pretraining-writer.ts";
import { type TinyCorpus, tinyCorpus } from "./tiny-corpus.ts";

let corpus: TinyCorpus;
const folder = (name: string) => join(corpus.folder, name);
const file = (...parts: string[]) => readFileSync(folder(join(...parts)));
const options = () => ({ data: corpus.folder, skipBad: false, log: () => {} });
beforeAll(() => {
  corpus = tinyCorpus(2);
});
afterAll(() => rmSync(corpus.folder, { recursive: true }));

it("pre-training that was killed in mid-run goes on along the same curve, to the same model", async () => {
  await train(recipe, { ...options(), out: folder("whole") });
  const lines = file("whole", "log.jsonl").toString().trim().split("\n");
  const script = join(import.meta.dirname, "pretraining-writer.ts");
  const child = spawn(process.execPath, ["--import", "tsx", script, folder("killed"), corpus.folder], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  const exited = new Promise<NodeJS.Signals | null>((resolve) =>
    child.on("exit", (_, signal) => resolve(signal)),
  );
  const written = () =>
    existsSync(folder("killed/log.jsonl"))
      ? file("killed", "log.jsonl").toString().split("\n").length - 1
      : 0;
  while (written() < 11 && child.exitCode === null) await sleep(1);
  child.kill("SIGKILL");
  expect(await exited).toBe("SIGKILL");
  expect(written()).toBeGreaterThan(10);
  expect(written()).toBeLessThan(lines.length);

  const said: string[] = [];
  const { status } = await train(recipe, {
    ...options(),
    ...{ out: folder("killed"), resume: true, log: (line: string) => void said.push(line) },
  });
  expect(said.join("\n")).toMatch(/resuming after step (4|8) of 12/);
  expect(status).toBe("finished");
  expect(readRun(folder("killed"))!.resumed).toBe(1);
  expect(file("killed", "log.jsonl")).toEqual(file("whole", "log.jsonl"));
  for (const name of ["model.safetensors", "heads.safetensors", "predictions.jsonl"])
    expect(file("killed", name).equals(file("whole", name)), name).toBe(true);
}, 60_000);

it("is evaluated on the frames that were hidden in the run, whichever other utterances there are", async () => {
  const { metrics } = readRun(folder("whole"))!;
  const { metrics: again, predictions } = await evaluateRun(folder("whole"), "test", options());
  for (const [name, value] of Object.entries(again)) expect(value, name).toBe(metrics![`test.${name}`]);

  // Half of the test speaker's utterances, in another order: each has the loss that it had among all.
  const half = folder("half");
  mkdirSync(half);
  cpSync(folder("audio"), join(half, "audio"), { recursive: true });
  const lines = file("manifest.jsonl").toString().trim().split("\n").reverse();
  const kept = lines.filter((line, i) => !line.includes('"s3') || i % 2 === 0);
  writeFileSync(join(half, "manifest.jsonl"), `${kept.join("\n")}\n`);
  const fewer = await evaluateRun(folder("whole"), "test", { ...options(), data: half });
  const losses = (part: typeof predictions, root: string, order: readonly string[]) => {
    const ids = order
      .map((line) => JSON.parse(line) as { id: string; speaker: string })
      .filter(({ speaker }) => speaker === "s3")
      .map(({ id }) => id);
    expect(part, root).toHaveLength(ids.length);
    return new Map(part.map((p, i) => [ids[i], p.losses]));
  };
  const all = losses(predictions, corpus.folder, file("manifest.jsonl").toString().trim().split("\n"));
  const some = losses(fewer.predictions, half, kept);
  expect(some.size).toBeLessThan(all.size);
  for (const [id, own] of some)
    for (const [name, value] of Object.entries(own))
      expect(value, `${id} ${name}`).toBeCloseTo(all.get(id)![name], 4);
}, 60_000);
