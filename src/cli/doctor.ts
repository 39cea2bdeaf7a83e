import type { Command } from "commander";
import { newCommand, printResult } from "./command.ts";
import { type Check, examine } from "./doctor-checks.ts";

export function command(): Command {
  return newCommand(
    "doctor",
    "Says what runs on this machine, what is missing and how to get it. Exits with 1 if training cannot run at all.",
    ["doctor", "doctor --json"],
  ).action(async (options: { json?: boolean }) => {
    const checks = await examine();
    const ok = checks.every((check) => check.ok || !check.required);
    printResult(options, { ok, checks }, print(checks, ok));
    if (!ok) process.exitCode = 1;
  });
}

function print(checks: Check[], ok: boolean): string {
  const width = Math.max(...checks.map((check) => check.name.length));
  const lines = checks.flatMap((check) => {
    const mark = check.ok ? "ok" : check.required ? "MISSING" : "-";
    const hint = check.hint ? [`${" ".repeat(width + 11)}${check.hint}`] : [];
    return [`${mark.padEnd(8)} ${check.name.padEnd(width)}  ${check.found}`, ...hint];
  });
  const optional = checks.filter((check) => !check.ok && !check.required).map((check) => check.name);
  const verdict = !ok
    ? "Training cannot run here before what is MISSING is there."
    : optional.length > 0
      ? `Training runs here. Optional and absent: ${optional.join(", ")}.`
      : "Training runs here, and everything optional is there.";
  return [...lines, "", verdict].join("\n");
}
