import type { Command } from "commander";
import { RunError } from "../errors.ts";
import { publishRun } from "../report/of-run.ts";
import { train } from "../train/trainer.ts";
import { sweepCommand } from "./sweep.ts";

/** `voxsmith sweep` over training runs. */
export function command(): Command {
  return sweepCommand((data) => async (recipe, folder, signal) => {
    const result = await train(recipe, {
      data,
      out: folder,
      skipBad: false,
      signal,
      log: (line) => process.stderr.write(`  ${line}\n`),
      publish: (path, metrics) =>
        publishRun(path, metrics, `voxsmith train ${path}/recipe.yaml${data ? ` --data ${data}` : ""}`),
    });
    if (result.status === "interrupted") throw new RunError(`stopped after step ${result.step}`);
    return { ...result.metrics };
  });
}
