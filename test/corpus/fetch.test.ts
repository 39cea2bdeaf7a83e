import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { downloadFolder, fetchCorpus } from "../../src/corpus/fetch.ts";
import { readers } from "../../src/corpus/readers/index.ts";
import type { Archive, Reader } from "../../src/corpus/readers/reader.ts";
import { RunError, UserError } from "../../src/errors.ts";
import { random } from "../../src/random.ts";
import { tar, zip } from "./archives.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-fetch-"));
afterAll(() => rmSync(folder, { recursive: true }));

const noise = random(1, "fetch");
const big = tar({
  "top/big.txt": Array.from({ length: 50_000 }, () => Math.floor(10 * noise.next())).join(""),
});
const bigHash = (algorithm = "sha256") => `${algorithm}:${createHash(algorithm).update(big).digest("hex")}`;

const pages: Record<string, Buffer> = {
  "/a.tar.gz": gzipSync(tar({ "top/a.wav": "x" })),
  "/b.zip": zip({ "top/b.wav": "y" }),
  "/meta.csv": Buffer.from("a,b\n"),
  "/outside.tar": tar({ "../evil.txt": "x" }),
  "/big.tar": big,
};

/** What the server does wrong, and what it was asked. */
const server = {
  requests: [] as string[],
  breaks: 0,
  breakAfter: 20_000,
  noRanges: false,
  etag: '"one"',
  status: undefined as number | undefined,
};

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { url = "", headers } = request;
  server.requests.push(`${url} ${headers.range ?? "whole"}`);
  const page = pages[url];
  if (server.status !== undefined || page === undefined)
    return void response.writeHead(server.status ?? 404).end();
  const same = headers["if-range"] === undefined || headers["if-range"] === server.etag;
  const range = server.noRanges || !same ? null : /^bytes=(\d+)-$/.exec(headers.range ?? "");
  const start = range ? Number(range[1]) : 0;
  if (start >= page.length)
    return void response.writeHead(416, { "content-range": `bytes */${page.length}` }).end();
  response.writeHead(range ? 206 : 200, {
    etag: server.etag,
    "content-length": page.length - start,
    ...(range && { "content-range": `bytes ${start}-${page.length - 1}/${page.length}` }),
  });
  if (url !== "/big.tar" || server.breaks === 0) return void response.end(page.subarray(start));
  server.breaks--;
  // The line breaks once the client has written down what it got, as it would after minutes on a real one.
  const goal = start + server.breakAfter;
  const breakLine = () => {
    if (existsSync(partial()) && statSync(partial()).size >= goal) response.destroy();
    else setTimeout(breakLine, 5);
  };
  response.write(page.subarray(start, goal), breakLine);
}

const http = createServer(answer);
await new Promise<void>((done) => http.listen(0, "127.0.0.1", done));
afterAll(() => void http.close());
const address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;

let target: string;
let counter = 0;
const partial = () => join(downloadFolder(target), "made-big.tar.part");
beforeEach(() => {
  target = join(folder, `corpus-${counter++}`);
  Object.assign(server, { requests: [], breaks: 0, noRanges: false, etag: '"one"', status: undefined });
});

const corpus = (archives: Record<string, Archive>): Record<string, Reader> => ({
  made: {
    title: "made",
    layout: "",
    options: {},
    read: () => [],
    download: { url: "page", licence: "none", archives },
  },
});
const at = (path: string, hash?: string): Archive => ({
  url: `${address}${path}`,
  ...(hash !== undefined && { hash }),
});
const fetchBig = (hash: string | undefined = bigHash(), attempts?: number) =>
  fetchCorpus("made", corpus({ big: at("/big.tar", hash) }), target, { attempts });
const isWhole = () =>
  readFileSync(join(target, "big.txt"), "latin1") === big.toString("latin1", 512, 512 + 50_000);

describe("fetch", () => {
  test("all parts in one folder, without the wrapping folder", async () => {
    const archives = { a: at("/a.tar.gz"), b: at("/b.zip") };
    const progress: string[] = [];
    const got = await fetchCorpus("made", corpus(archives), target, {
      onProgress: (part) => progress.push(part),
    });
    expect(readdirSync(target).sort()).toEqual(["a.wav", "b.wav"]);
    expect(new Set(progress)).toEqual(new Set(["a", "b"]));
    const hash = `sha256:${createHash("sha256").update(pages["/b.zip"]).digest("hex")}`;
    expect(got[1]).toEqual({ part: "b", url: `${address}/b.zip`, hash, verified: false });
    await fetchCorpus("made", corpus({ ...archives, m: at("/meta.csv") }), `${target}-meta`, {
      parts: ["m", "a"],
    });
    expect(readdirSync(`${target}-meta`).sort()).toEqual(["meta.csv", "top"]);
    await expect(fetchCorpus("made", corpus(archives), target)).rejects.toThrow(/exists already/);
    await expect(fetchCorpus("made", corpus(archives), `${target}-x`, { parts: ["c"] })).rejects.toThrow(
      /no part "c"/,
    );
    expect(existsSync(downloadFolder(target))).toBe(false);
  });

  test("what is refused leaves nothing behind", async () => {
    const before = readdirSync(folder);
    const from = (path: string) => fetchCorpus("made", corpus({ x: at(path) }), target);
    await expect(from("/missing.zip")).rejects.toThrow(/the server answers 404/);
    await expect(from("/outside.tar")).rejects.toThrow(/outside its folder/);
    expect(readdirSync(folder)).toEqual(before);
  });

  test("corpora without an open download say so", async () => {
    await expect(fetchCorpus("timit", readers, target)).rejects.toThrow(
      /timit cannot be fetched; these can: /,
    );
    await expect(fetchCorpus("torgo", readers, target)).rejects.toThrow(/see http.*TORGO/);
    for (const { download } of Object.values(readers)) {
      for (const { url, hash } of Object.values(download?.archives ?? {})) {
        expect(url).toMatch(/\.(zip|tar\.gz|tgz|csv)$/);
        if (hash !== undefined) expect(hash).toMatch(/^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$/);
      }
    }
  });
});

describe("interrupted", () => {
  test("a connection that breaks twice: each attempt goes on where the last one ended", async () => {
    server.breaks = 2;
    const [got] = await fetchBig();
    expect(server.requests).toEqual(["/big.tar whole", "/big.tar bytes=20000-", "/big.tar bytes=40000-"]);
    expect(isWhole()).toBe(true);
    expect(got).toMatchObject({ hash: bigHash(), verified: true });
  });

  test("what arrived is kept, and the next call goes on there", async () => {
    server.breaks = 1;
    const broken = fetchBig(bigHash(), 1);
    await expect(broken).rejects.toThrow(RunError);
    await expect(broken).rejects.toThrow(
      /broke off.*; the 20000 bytes that arrived are kept in .*made-big\.tar\.part: the same command goes on/,
    );
    expect(existsSync(target)).toBe(false);
    expect((await fetchBig(bigHash("md5")))[0]).toMatchObject({ hash: bigHash("md5"), verified: true });
    expect(server.requests.at(-1)).toBe("/big.tar bytes=20000-");
    expect(isWhole()).toBe(true);
    expect(existsSync(downloadFolder(target))).toBe(false);
  });

  test("parts that were unpacked are not fetched again", async () => {
    const archives = { a: at("/a.tar.gz"), big: at("/big.tar") };
    server.breaks = 1;
    await expect(fetchCorpus("made", corpus(archives), target, { attempts: 1 })).rejects.toThrow(/broke off/);
    const got = await fetchCorpus("made", corpus(archives), target);
    expect(server.requests.map((line) => line.split(" ")[0])).toEqual(["/a.tar.gz", "/big.tar", "/big.tar"]);
    expect(readdirSync(target).sort()).toEqual(["a.wav", "big.txt"]);
    expect(got.map(({ part }) => part)).toEqual(["a", "big"]);
  });

  test("a server without ranges, and a file that changed meanwhile: from the start", async () => {
    for (const change of [{ noRanges: true }, { etag: '"two"' }]) {
      server.breaks = 1;
      await expect(fetchBig(bigHash(), 1)).rejects.toThrow(/broke off/);
      Object.assign(server, change);
      await fetchBig();
      expect(isWhole()).toBe(true);
      rmSync(target, { recursive: true });
      Object.assign(server, { noRanges: false, etag: '"one"' });
    }
  });

  test("all bytes there already, and too many of them", async () => {
    for (const [bytes, requests] of [
      [big, 1],
      [Buffer.concat([big, big]), 2],
    ] as const) {
      mkdirSync(downloadFolder(target));
      writeFileSync(partial(), bytes);
      server.requests = [];
      await fetchBig();
      expect(server.requests).toHaveLength(requests);
      expect(isWhole()).toBe(true);
      rmSync(target, { recursive: true });
    }
  });

  test("damage is found by the hash, deleted and said; the next call has a clean start", async () => {
    mkdirSync(downloadFolder(target));
    writeFileSync(partial(), Buffer.alloc(20_000));
    await expect(fetchBig()).rejects.toThrow(
      /big\.tar: arrived damaged \(sha256:\w+ instead of sha256:\w+\); it was deleted/,
    );
    expect(existsSync(downloadFolder(target))).toBe(false);
    await fetchBig();
    expect(isWhole()).toBe(true);
  });

  test("without a network: a sentence, and an archive brought by hand is taken and checked", async () => {
    const offline = (hash?: string) =>
      fetchCorpus("made", corpus({ big: { url: "http://127.0.0.1:9/big.tar", hash } }), target, {
        attempts: 1,
      });
    await expect(offline()).rejects.toThrow(
      /127\.0\.0\.1:9\/big\.tar cannot be reached \(.*\); without a network, bring the archive .* as .*made-big\.tar/,
    );
    const bring = () => {
      mkdirSync(downloadFolder(target), { recursive: true });
      writeFileSync(join(downloadFolder(target), "made-big.tar"), big);
    };
    bring();
    await expect(offline("sha256:00")).rejects.toThrow(/arrived damaged/);
    bring();
    await offline(bigHash());
    expect(isWhole()).toBe(true);
  });

  test("a server that is at a loss is asked again; one that refuses is not", async () => {
    server.status = 503;
    await expect(fetchBig(undefined, 2)).rejects.toThrow(/the server answers 503/);
    expect(server.requests).toHaveLength(2);
    server.status = 403;
    await expect(fetchBig()).rejects.toThrow(/the server answers 403/);
    await expect(fetchBig()).rejects.not.toThrow(UserError);
    expect(server.requests).toHaveLength(4);
  });
});
