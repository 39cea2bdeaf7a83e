import { appendFileSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openLog, readLog } from "../../src/train/log.ts";
import { duration, progress } from "../../src/train/progress.ts";

const temporary = () => join(mkdtempSync(join(tmpdir(), "log-")), "log.jsonl");
/** What a run writes from one step to another. */
function train(path: string, from: number, to: number, resumeAt = from): void {
  const log = openLog(path, resumeAt);
  for (let step = from + 1; step <= to; step++) {
    log.write({ step, event: "train", loss: 1 / step });
    if (step % 3 === 0) log.write({ step, event: "evaluate", accuracy: step / 100 });
  }
  log.sync();
  log.close();
}

describe("log", () => {
  it("of a resumed run equals that of the uninterrupted one", () => {
    const [whole, resumed] = [temporary(), temporary()];
    train(whole, 0, 20);
    // Checkpoints at 6 and 12, killed at 11 and 13, the second time in the middle of a line.
    train(resumed, 0, 11);
    train(resumed, 6, 13);
    appendFileSync(resumed, '{"step":14,"event":"tr');
    train(resumed, 12, 20);
    expect(readFileSync(resumed, "utf8")).toBe(readFileSync(whole, "utf8"));
  });

  it("starts empty at step 0 and skips a line that is being written", () => {
    const path = temporary();
    train(path, 0, 5);
    train(path, 0, 2);
    appendFileSync(path, '{"step":3');
    expect(readLog(path).map((record) => record.step)).toEqual([1, 2]);
  });

  it("names numbers that JSON cannot hold", () => {
    const path = temporary();
    const log = openLog(path);
    log.write({ step: 1, event: "train", loss: Number.NaN, norm: [Number.POSITIVE_INFINITY] });
    log.close();
    expect(readLog(path)).toEqual([{ step: 1, event: "train", loss: "NaN", norm: ["Infinity"] }]);
  });
});

describe("progress", () => {
  function run(isTTY: boolean, start = 0) {
    let now = 100;
    let output = "";
    const stream = { isTTY, columns: 60, write: (text: string) => (output += text) };
    const p = progress({ label: "train", total: 100, start, stream, now: () => now });
    return { p, wait: (seconds: number) => (now += seconds), output: () => output };
  }

  it("prints plain lines at intervals, and the last one", () => {
    const { p, wait, output } = run(false);
    for (let done = 1; done <= 100; done++) {
      wait(1);
      p.update(done, `loss ${done}`);
    }
    p.end();
    const lines = output().trimEnd().split("\n");
    expect(lines).toHaveLength(11);
    expect(lines[0]).toBe("train 1/100 (1 %)  1 min 39 s left  loss 1");
    expect(lines[5]).toBe("train 51/100 (51 %)  49 s left  loss 51");
    expect(lines[10]).toBe("train 100/100 (100 %)  in 1 min 40 s  loss 100");
    expect(output()).not.toContain("\r");
  });

  it("updates one line on a terminal, no wider than it", () => {
    const { p, wait, output } = run(true);
    wait(1);
    p.update(10, "x".repeat(80));
    wait(0.01);
    p.update(11);
    wait(1);
    p.update(12);
    p.print("note");
    p.end();
    const parts = output().split("\r\x1b[2K");
    expect(parts[0]).toHaveLength(59);
    expect(parts[1]).toBe("train 12/100 (12 %)  15 s left");
    expect(parts[2]).toBe("note\ntrain 12/100 (12 %)  15 s left");
    expect(output().endsWith("\n")).toBe(true);
    expect(output()).not.toContain("11/100");
  });

  it("judges the speed of a resumed run by its own steps", () => {
    const { p, wait, output } = run(false, 50);
    wait(10);
    p.update(60);
    expect(output()).toBe("train 60/100 (60 %)  40 s left\n");
  });

  it.each([
    [0.4, "0 s"],
    [59.6, "1 min 00 s"],
    [200, "3 min 20 s"],
    [7500, "2 h 05 min"],
    [3599.9, "1 h 00 min"],
  ])("says %d seconds as %s", (seconds, text) => expect(duration(seconds)).toBe(text));
});
