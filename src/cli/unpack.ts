import { existsSync, readdirSync } from "node:fs";
import type { Command } from "commander";
import { UserError } from "../errors.ts";
import { PACK_ENDING } from "../train/pack-file.ts";
import { unpack } from "../train/unpack.ts";
import { newCommand, printResult } from "./command.ts";

interface Options {
  json?: boolean;
  out?: string;
  backbone?: string;
}

export function command(): Command {
  return newCommand(
    "unpack",
    "Writes a mask pack over its backbone as a dense model in Hugging Face's form, in a folder like that of the run.",
    ["unpack dutch.pack --out dutch"],
  )
    .argument("<pack>", "the mask pack")
    .option("--out <folder>", `where the model goes (default: the pack's path without ${PACK_ENDING})`)
    .option("--backbone <model>", "the model that the masks are over (default: where the run had it)")
    .action((path: string, options: Options) => {
      const out =
        options.out ?? (path.endsWith(PACK_ENDING) ? path.slice(0, -PACK_ENDING.length) : `${path}-model`);
      if (existsSync(out) && readdirSync(out).length > 0)
        throw new UserError(`${out}: is not empty; choose another --out`);
      unpack(path, out, options.backbone);
      printResult(options, { folder: out }, `${out}: the dense model`);
    });
}
