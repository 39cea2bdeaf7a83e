import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateRawSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fetchCorpus } from "../../src/corpus/fetch.ts";
import { readers } from "../../src/corpus/readers/index.ts";
import type { Reader } from "../../src/corpus/readers/reader.ts";
import { unpack } from "../../src/corpus/unpack.ts";
import { RunError, UserError } from "../../src/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-fetch-"));

/** A tar archive; names over 100 letters the pax or the GNU way. */
function tar(files: Record<string, string>, longNames: "pax" | "gnu" = "pax"): Buffer {
  const entry = (name: string, type: string, data: Buffer) => {
    const header = Buffer.alloc(512);
    header.write(name.slice(0, 100), 0);
    header.write("0000644\0", 100);
    header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124);
    header.write("        ", 148);
    header.write(type, 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((s, byte) => s + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
  };
  const parts = Object.entries(files).flatMap(([name, content]) => {
    const plain = entry(name, name.endsWith("/") ? "5" : "0", Buffer.from(content));
    if (name.length <= 100) return [plain];
    if (longNames === "gnu") return [entry("././@LongLink", "L", Buffer.from(`${name}\0`)), plain];
    const line = ` path=${name}\n`;
    let size = line.length + 2;
    while (`${size}${line}`.length !== size) size++;
    return [entry("pax", "x", Buffer.from(`${size}${line}`)), plain];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function zip(files: Record<string, string>): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  Object.entries(files).forEach(([name, content], i) => {
    const method = i % 2 === 0 ? 8 : 0; // both kinds
    const data = method === 8 ? deflateRawSync(content) : Buffer.from(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(Buffer.byteLength(name), 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt16LE(Buffer.byteLength(name), 28);
    central.writeUInt32LE(at, 42);
    locals.push(local, Buffer.from(name), data);
    directory.push(central, Buffer.from(name));
    at += 30 + Buffer.byteLength(name) + data.length;
  });
  const list = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(list.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...locals, list, end]);
}

const long = `top/${"deep/".repeat(25)}file.txt`;
const content = { "top/": "", "top/a.txt": "one", "top/é/b.txt": "zwei".repeat(3000), [long]: "three" };
let server: Server;
let address: string;

beforeAll(async () => {
  const pages: Record<string, Buffer> = {
    "/a.tar.gz": gzipSync(tar({ "top/a.wav": "x" })),
    "/b.zip": zip({ "top/b.wav": "y" }),
    "/meta.csv": Buffer.from("a,b\n"),
    "/outside.tar": tar({ "../evil.txt": "x" }),
  };
  server = createServer((request, response) => {
    if (request.url === "/broken.zip") {
      response.writeHead(200, { "content-length": 1000 });
      response.write("PK");
      setTimeout(() => response.destroy(), 20);
      return;
    }
    const page = pages[request.url!];
    response.writeHead(page === undefined ? 404 : 200, page && { "content-length": page.length });
    response.end(page);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const corpus = (archives: Record<string, string>): Record<string, Reader> => ({
  made: {
    title: "made",
    layout: "",
    options: {},
    read: () => [],
    download: { url: "page", licence: "none", archives },
  },
});

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

describe("fetch", () => {
  test("all parts in one folder, without the wrapping folder", async () => {
    const archives = { a: `${address}/a.tar.gz`, b: `${address}/b.zip` };
    const progress: string[] = [];
    await fetchCorpus("made", corpus(archives), join(folder, "got"), {
      onProgress: (part) => progress.push(part),
    });
    expect(readdirSync(join(folder, "got")).sort()).toEqual(["a.wav", "b.wav"]);
    expect(new Set(progress)).toEqual(new Set(["a", "b"]));
    await fetchCorpus("made", corpus({ ...archives, m: `${address}/meta.csv` }), join(folder, "meta"), {
      parts: ["m", "a"],
    });
    expect(readdirSync(join(folder, "meta")).sort()).toEqual(["meta.csv", "top"]);
    await expect(fetchCorpus("made", corpus(archives), join(folder, "got"))).rejects.toThrow(
      /exists already/,
    );
    await expect(fetchCorpus("made", corpus(archives), join(folder, "x"), { parts: ["c"] })).rejects.toThrow(
      /no part "c"/,
    );
  });

  test("what fails leaves nothing behind", async () => {
    const before = readdirSync(folder);
    const from = (path: string) =>
      fetchCorpus("made", corpus({ x: `${address}${path}` }), join(folder, "none"));
    await expect(from("/missing.zip")).rejects.toThrow(/the server answers 404/);
    await expect(from("/broken.zip")).rejects.toThrow(RunError);
    await expect(from("/outside.tar")).rejects.toThrow(/outside its folder/);
    expect(readdirSync(folder)).toEqual(before);
  });

  test("corpora without an open download say so", async () => {
    await expect(fetchCorpus("timit", readers, join(folder, "t"))).rejects.toThrow(
      /timit cannot be fetched; these can: /,
    );
    await expect(fetchCorpus("torgo", readers, join(folder, "t"))).rejects.toThrow(/see http.*TORGO/);
    for (const { download } of Object.values(readers)) {
      for (const url of Object.values(download?.archives ?? {}))
        expect(url).toMatch(/\.(zip|tar\.gz|tgz|csv)$/);
    }
  });
});
