import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { RunError, UserError } from "../../../errors.ts";

export const BIN = fileURLToPath(new URL("../../../../bin/voxsmith.js", import.meta.url));

/**
 * Runs a command of voxsmith in a process of its own, so that several run at once and one that fails takes no other with
 * it. What it says goes into a file. Raising `signal` lets it save and stop.
 * @returns what it printed on stdout. @throws UserError or RunError with its own sentence
 */
export function runVoxsmith(
  args: readonly string[],
  options: { saidIn: string; signal: AbortSignal },
): Promise<string> {
  mkdirSync(dirname(options.saidIn), { recursive: true });
  const said = createWriteStream(options.saidIn, { flags: "a" });
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const stop = () => child.kill("SIGINT");
    options.signal.addEventListener("abort", stop, { once: true });
    if (options.signal.aborted) stop();
    let stdout = "";
    let last = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk: Buffer) => {
      said.write(chunk);
      for (const line of `${chunk}`.split("\n")) if (line.startsWith("voxsmith: ")) last = line.slice(10);
    });
    child.on("error", reject);
    child.on("close", (status, killed) => {
      options.signal.removeEventListener("abort", stop);
      said.end();
      if (status === 0) resolve(stdout);
      else if (status === 2) reject(new UserError(last));
      else
        reject(new RunError(last || `stopped (${killed ?? `exit status ${status}`}); see ${options.saidIn}`));
    });
  });
}
