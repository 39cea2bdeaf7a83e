import type { Command } from "commander";
import { serveCells } from "../methods/severity/study/cell-process.ts";
import { interruptSignal, newCommand } from "./command.ts";

/** `voxsmith severity cells`: what the studies start for themselves; not in `--help`. */
export function cellsCommand(): Command {
  return newCommand("cells", "Trains runs of a study, one JSON task a line on stdin.", [
    "severity cells < tasks.jsonl",
  ]).action(async () => {
    const { signal, dispose } = interruptSignal("saving after this step");
    signal.addEventListener("abort", () => process.stdin.destroy(), { once: true });
    await serveCells(signal).finally(dispose);
  });
}
