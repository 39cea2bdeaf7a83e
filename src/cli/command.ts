import { Command, InvalidArgumentError } from "commander";

/** A command in the house style: a summary, an example that works, and `--json`. */
export function newCommand(name: string, description: string, examples: string[]): Command {
  const shown = examples.map((example) => `  $ voxsmith ${example}`).join("\n");
  return new Command(name)
    .description(description)
    .option("--json", "print one JSON document on stdout; everything else goes to stderr")
    .addHelpText("after", `\nExample${examples.length > 1 ? "s" : ""}:\n${shown}`);
}

/** Prints a command's result: JSON with `--json`, else text for people. */
export function printResult(options: { json?: boolean }, value: unknown, text: string): void {
  process.stdout.write(options.json ? `${JSON.stringify(value, null, 2)}\n` : `${text}\n`);
}

/** Signals this close together are one: supervisors such as `timeout` signal a process and then its whole group. */
const ONE_SIGNAL_MS = 1000;

/**
 * A signal that the first Ctrl-C (or SIGTERM) raises, for work that saves and stops by itself; a later one ends the
 * process. `dispose` puts the default behaviour back.
 */
export function interruptSignal(say: string): { signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  let first = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted && performance.now() - first < ONE_SIGNAL_MS) return;
    if (controller.signal.aborted) process.exit(signal === "SIGINT" ? 130 : 143);
    process.stderr.write(`\n${say}\n`);
    first = performance.now();
    controller.abort();
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    dispose: () => process.off("SIGINT", onSignal).off("SIGTERM", onSignal),
  };
}

/** Parser of an option that is a whole number of at least 1. */
export function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError("It must be a whole number of at least 1.");
  return value;
}

/** Parser of an option that is a number of hours. */
export function hours(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a number of hours above 0.");
  return value;
}

/** Parser of an option that may be repeated. */
export const collect = (value: string, previous: string[]): string[] => [...previous, value];
