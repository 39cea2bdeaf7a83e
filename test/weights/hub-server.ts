import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export const commit = "0123456789abcdef0123456789abcdef01234567";
export const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex");
export const gitHash = (data: Buffer) =>
  createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");

/**
 * A server that speaks the hub's protocol for one model: revision information, HEAD and GET of files, large ones by a
 * redirection to another path (the storage) that knows byte ranges. `faults` makes it misbehave.
 */
export const hub = {
  /** HF_HOME of the client, where a broken line is timed by what it has written. */
  home: "",
  files: {} as Record<string, { data: Buffer; large?: boolean }>,
  requests: [] as string[],
  faults: {} as {
    breakAfter?: number;
    breaks?: number;
    corrupt?: boolean;
    status?: number;
    noRanges?: boolean;
    garbage?: boolean;
  },
};

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { url = "", method, headers } = request;
  hub.requests.push(`${method} ${url}${headers.range ? ` ${headers.range}` : ""}`);
  const { faults } = hub;
  if (faults.status) return void response.writeHead(faults.status).end();
  if (faults.garbage) return void response.end("<html>log in to the network first</html>");
  const described = /^\/api\/models\/org\/tiny\/revision\/(.+)$/.exec(url);
  if (described) {
    if (!["main", "v1", commit].includes(described[1])) return void response.writeHead(404).end();
    const siblings = Object.keys(hub.files).map((rfilename) => ({ rfilename }));
    return void response.end(JSON.stringify({ sha: commit, siblings }));
  }
  const renamed = /^\/org\/old\/(.+)$/.exec(url);
  if (renamed) return void response.writeHead(307, { Location: `/org/tiny/${renamed[1]}` }).end();
  const asked = new RegExp(`^/(org/tiny/resolve/${commit}|storage)/(.+)$`).exec(url);
  const file = asked ? hub.files[asked[2]] : undefined;
  if (!asked || !file) return void response.writeHead(404).end();
  if (asked[1] !== "storage" && file.large) {
    response.writeHead(302, {
      Location: `/storage/${asked[2]}`,
      "X-Repo-Commit": commit,
      "X-Linked-ETag": `"${sha256(file.data)}"`,
      "X-Linked-Size": String(file.data.length),
    });
    return void response.end();
  }
  const range = faults.noRanges ? null : /^bytes=(\d+)-$/.exec(headers.range ?? "");
  const start = range ? Number(range[1]) : 0;
  let body = file.data.subarray(start);
  response.writeHead(range ? 206 : 200, {
    ETag: `"${gitHash(file.data)}"`,
    "X-Repo-Commit": commit,
    "Content-Length": body.length,
  });
  if (method === "HEAD") return void response.end();
  if (faults.corrupt && file.large) {
    body = Buffer.from(body);
    body[body.length - 1] ^= 1;
  }
  if (faults.breakAfter !== undefined && file.large && (faults.breaks ?? 0) > 0) {
    faults.breaks!--;
    // The line breaks once the client has written down what it got, as it would after minutes on a real one.
    const goal = start + faults.breakAfter;
    const partial = join(hub.home, "hub/models--org--tiny/blobs", `${sha256(file.data)}.incomplete`);
    const breakLine = () => {
      if (existsSync(partial) && statSync(partial).size >= goal) response.destroy();
      else setTimeout(breakLine, 5);
    };
    response.write(body.subarray(0, faults.breakAfter), breakLine);
    return;
  }
  response.end(body);
}

/** Starts the server on a free port; `close` it when done. */
export async function startHub(): Promise<{ endpoint: string; close(): void }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { endpoint: `http://127.0.0.1:${port}`, close: () => void server.close() };
}
