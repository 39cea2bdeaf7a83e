import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { unpack } from "../../src/corpus/unpack.ts";
import { UserError } from "../../src/errors.ts";
import { tar, zip } from "./archives.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-unpack-"));
afterAll(() => rmSync(folder, { recursive: true }));

const long = `top/${"deep/".repeat(25)}file.txt`;
const content = { "top/": "", "top/a.txt": "one", "top/é/b.txt": "zwei".repeat(3000), [long]: "three" };

describe("archives", () => {
  test.each([
    ["tar, pax", () => tar(content, "pax")],
    ["tar, gnu", () => tar(content, "gnu")],
    ["tar.gz", () => gzipSync(tar(content))],
    ["zip", () => zip({ "top/a.txt": "one", "top/é/b.txt": "zwei".repeat(3000), [long]: "three" })],
  ])("%s", async (name, make) => {
    const archive = join(folder, "archive");
    writeFileSync(archive, make());
    const target = join(folder, name);
    await unpack(archive, target);
    expect(readFileSync(join(target, "top/a.txt"), "utf8")).toBe("one");
    expect(readFileSync(join(target, "top/é/b.txt"), "utf8")).toBe("zwei".repeat(3000));
    expect(readFileSync(join(target, long), "utf8")).toBe("three");
    // Cut anywhere but in the padding, it is refused.
    const whole = make();
    for (const share of [0.1, 0.35, 0.6, 0.75]) {
      writeFileSync(archive, whole.subarray(0, Math.round(share * whole.length)));
      await expect(unpack(archive, join(folder, "cut")), String(share)).rejects.toThrow(UserError);
    }
  });

  test("entries outside the folder and other files are refused", async () => {
    const archive = join(folder, "archive");
    writeFileSync(archive, tar({ "a/../../evil.txt": "x" }));
    await expect(unpack(archive, join(folder, "in"))).rejects.toThrow(/outside its folder/);
    writeFileSync(archive, zip({ "/etc/evil.txt": "x" }));
    await expect(unpack(archive, join(folder, "in"))).rejects.toThrow(/outside its folder/);
    writeFileSync(archive, "no archive at all ".repeat(100));
    await expect(unpack(archive, join(folder, "in"))).rejects.toThrow(/damaged or cut off/);
    expect(existsSync(join(folder, "evil.txt"))).toBe(false);
  });
});
