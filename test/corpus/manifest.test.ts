import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ManifestFault, phoneSymbols, readManifest, writeManifest } from "../../src/corpus/manifest.ts";
import { UserError } from "../../src/errors.ts";
import { dataDir } from "../shared.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "voxsmith-manifest-"));
  mkdirSync(join(folder, "audio"));
  for (const name of ["a", "b", "c"]) writeFileSync(join(folder, "audio", `${name}.wav`), "x");
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (...lines: string[]) => {
  const path = join(folder, "manifest.jsonl");
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
};
const good = '{"id": "a", "audio": "audio/a.wav"}';

describe("manifest", () => {
  test.each(["fsdd", "speechocean762", "barista", "wakewords"])("%s reads as it is", (corpus) => {
    const path = dataDir(corpus);
    if (path === undefined) return;
    const utterances = readManifest(path);
    const lines = readFileSync(join(path, "manifest.jsonl"), "utf8").trim().split("\n");
    expect(utterances.length).toBe(lines.length);
    expect(utterances.map((u) => u.id)).toEqual(lines.map((line) => JSON.parse(line).id));
  });

  test("paths become absolute, and relative again when written", () => {
    const utterances = readManifest(
      write(
        good,
        "",
        '{"id": "b", "audio": "audio/b.wav", "start": 1, "end": 2.5, "phones": [{"phone": "AH", "start": 0, "end": 0.1}], "labels": {"age": 6}}',
      ),
    );
    expect(utterances[0].audio).toBe(join(folder, "audio", "a.wav"));
    expect(phoneSymbols(utterances[1])).toEqual(["AH"]);
    const copy = join(folder, "deeper", "copy.jsonl");
    writeManifest(copy, utterances);
    expect(JSON.parse(readFileSync(copy, "utf8").split("\n")[0]).audio).toBe("../audio/a.wav");
    expect(readManifest(copy)).toEqual(utterances);
    expect(readdirSync(join(folder, "deeper"))).toEqual(["copy.jsonl"]);
  });

  test.each([
    ["{oops", /manifest\.jsonl:2: not a line of JSON: "\{oops"/],
    ["[1]", /:2: expected a JSON object/],
    ['{"audio": "audio/b.wav"}', /:2: the field "id" is missing/],
    ['{"id": "b"}', /:2: the field "audio" is missing/],
    ['{"id": 7, "audio": "audio/b.wav"}', /:2: the field "id" must be a string that is not empty, not "7"/],
    ['{"id": "b", "audio": "audio/b.wav", "duration": "x"}', /"duration" must be a number of seconds/],
    ['{"id": "b", "audio": "audio/b.wav", "phones": "A B"}', /"phones" must be a list of strings or/],
    ['{"id": "b", "audio": "audio/b.wav", "labels": {"x": [1]}}', /"labels" must be an object whose values/],
    ['{"id": "b", "audio": "audio/b.wav", "speeker": "x"}', /"speeker" is unknown; did you mean "speaker"/],
    [
      '{"id": "b", "audio": "audio/b.wav", "start": 2, "end": 1}',
      /"end" \(1\) must come after "start" \(2\)/,
    ],
    ['{"id": "b", "audio": "audio/none.wav"}', /the sound file "audio\/none.wav" does not exist/],
    ['{"id": "a", "audio": "audio/b.wav"}', /the id "a" was already used in line 1/],
  ])("refuses %s", (line, message) => {
    const path = write(good, line, '{"id": "c", "audio": "audio/c.wav"}');
    expect(() => readManifest(path)).toThrow(UserError);
    expect(() => readManifest(path)).toThrow(message);
    const faults: ManifestFault[] = [];
    const rest = readManifest(path, { skipBad: true, onBad: (fault) => faults.push(fault) });
    expect(rest.map((u) => u.id)).toEqual(["a", "c"]);
    expect(faults.map((f) => f.line)).toEqual([2]);
    expect(faults[0].message).toMatch(message);
  });

  test("refuses what is absent or empty", () => {
    expect(() => readManifest(join(folder, "none.jsonl"))).toThrow(/none.jsonl: no such manifest/);
    expect(() => readManifest(folder)).toThrow(/holds no manifest.jsonl/);
    expect(() => readManifest(write(""))).toThrow(/no usable utterance/);
    expect(() => readManifest(write("{"), { skipBad: true })).toThrow(/1 faulty lines left out/);
  });

  test("columns of one's own are kept", () => {
    const path = write('{"id": "a", "audio": "audio/a.wav", "recordingDevice": "phone"}');
    const out = join(folder, "out.jsonl");
    writeManifest(out, readManifest(path));
    expect(JSON.parse(readFileSync(out, "utf8")).recordingDevice).toBe("phone");
  });
});
