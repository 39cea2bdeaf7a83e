import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { scoreTable } from "../../src/cli/score.ts";
import { readTable } from "../../src/corpus/formats/table.ts";
import { superbEndPoints } from "../../src/metrics/superb-score.ts";
import { fixture } from "../metrics/fixture.ts";

const { rows } = fixture("superb-score") as { rows: [string, ...number[]][] };

function table(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), "score-")), "table.csv");
  writeFileSync(path, text);
  return path;
}
const score = (text: string) => scoreTable(readTable(table(text)));

describe("voxsmith score", () => {
  test("prints the paper's tables as [{name, score}]; the one misprint is ASR on Librispeech Stable-FT", () => {
    const lines = rows.map(([name, ...numbers]) => [name, ...numbers.slice(0, 5)].join(","));
    const path = table(`name,PR,SID,ER,SF_F1,SF_CER\n${lines.join("\n")}\n`);
    const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
    const { stdout, status } = spawnSync(process.execPath, [bin, "score", path, "--json"], {
      encoding: "utf8",
    });
    expect(status).toBe(0);
    const scored = JSON.parse(stdout) as { name: string; score: number }[];
    expect(scored.map(Object.keys)).toEqual(rows.map(() => ["name", "score"]));
    const off = rows.filter((row, i) => {
      expect(scored[i].name).toBe(row[0]);
      return Math.abs(scored[i].score - (row.at(-1) as number)) > 0.01;
    });
    expect(off.map(([name]) => name)).toEqual(["ASR on Librispeech Stable-FT"]);
    expect(scored[rows.indexOf(off[0])].score).toBeCloseTo(805.5289, 4);
  });

  test("end points, empty cells, columns of one's own, half of slot filling", () => {
    const names = Object.keys(superbEndPoints);
    const ends = (key: "fbank" | "sota") => Object.values(superbEndPoints).map((points) => points[key]);
    const [fbank, sota] = score(
      `name,note,${names}\nFBank,none,${ends("fbank")}\nSOTA,all,${ends("sota")}\n`,
    );
    expect(fbank.score).toBeCloseTo(0, 9);
    expect(sota.score).toBeCloseTo(1000, 9);
    expect(sota.tasks.length).toBe(10);
    const [some, half] = score("name,PR,SF_F1,SF_CER\na,2.55,,\nb,,92.35,\n");
    expect(some).toEqual({ name: "a", score: 1000, tasks: ["PR"] });
    expect(half).toEqual({ name: "b", score: 1000, tasks: ["SF"], missing: "SF_CER" });
  });

  test.each([
    ["PR,SID\n1,2\n", /no column "name"|name/],
    ["name,pr\na,5\n", 'the column "pr" is unknown; did you mean "PR"?'],
    ["name,SF-F1\na,5\n", 'the column "SF-F1" is unknown; did you mean "SF_F1"?'],
    ["name,PR\na,five\n", ':2: PR is "five"; it must be a number'],
    ["name,PR\na,\n", ':2: the row "a" has no metric'],
    ["name,QbE\na,11.25\n", ":2: QbE is 11.25; the term-weighted value is at most 1"],
    ["name,WER\na,5\n", "none of the columns is a metric"],
    ["name,PR\n", "has no rows"],
  ])("refuses %j", (text, sentence) => {
    expect(() => score(text)).toThrow(sentence);
  });
});
