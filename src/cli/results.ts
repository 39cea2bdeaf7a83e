import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Argument, type Command } from "commander";
import { closest, UserError } from "../errors.ts";
import { replications, withSection } from "../methods/replications.ts";
import { writeAtomically } from "../weights/file.ts";
import { hours, interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  budget?: number;
  data: string;
  out?: string;
  docs?: string;
  threads: number;
  jobs: number;
  upstream?: string;
  plan?: boolean;
  tiny?: boolean;
}

/** `voxsmith results NAME`: one file under src/methods for each replication, registered in methods/replications.ts. */
export function command(): Command {
  const known = replications.map(({ name, summary }) => `  ${name}: ${summary}`).join("\n");
  return newCommand(
    "results",
    "Runs the miniature replication of a paper, resumable, and writes what held and what did not into a document. The plan is printed first; the same command goes on where the last one stopped.",
    ["results severity --plan", "results severity --budget 4"],
  )
    .addArgument(new Argument("<name>", "which replication"))
    .option("--budget <hours>", "start no run that is expected to end later than this", hours)
    .option("--data <folder>", "the folder that holds the corpora", "../shared/data")
    .option("--out <folder>", "where its runs and tables go (default: runs/results-NAME)")
    .option("--docs <file>", "the document that gets the section (default: docs/results.md where it exists)")
    .option("--threads <n>", "processor threads of a run", whole, 1)
    .option("--jobs <n>", "runs at the same time", whole, 1)
    .option("--upstream <model>", "model folder to start from (default: the replication's choice)")
    .option("--plan", "only say what would be run")
    .option("--tiny", "the same path with next to nothing in it; never written into the document")
    .addHelpText("after", `\nReplications:\n${known}`)
    .action(async (name: string, options: Options) => {
      const replication = replications.find((each) => each.name === name);
      if (replication === undefined) {
        const names = replications.map((each) => each.name);
        const near = closest(name, names);
        throw new UserError(
          `results ${name}: there is no such replication; ${near ? `did you mean ${near}?` : `there are ${names.join(", ")}`}`,
        );
      }
      const { signal, dispose } = interruptSignal("stopping; the same command goes on from here");
      const { replicate } = await replication.load();
      const outcome = await replicate({
        data: resolve(options.data),
        folder: options.out ?? join("runs", `results-${name}${options.tiny ? "-tiny" : ""}`),
        budget: options.budget && options.budget * 3600,
        threads: options.threads,
        jobs: options.jobs,
        upstream: options.upstream,
        planOnly: options.plan ?? false,
        tiny: options.tiny ?? false,
        signal,
        log: (line) => process.stderr.write(`${line}\n`),
      }).finally(dispose);
      const { section, left, result } = outcome;
      const document = documentOf(options);
      if (section !== undefined && document !== undefined) {
        const before = existsSync(document) ? readFileSync(document, "utf8") : "# Results\n";
        const after = withSection(before, name, replication.title, section);
        writeAtomically(document, (put) => put(Buffer.from(after)));
        process.stderr.write(`${document}: section "${replication.title}" written\n`);
      }
      printResult(options, { name, left, result }, section ?? (options.plan ? "" : "nothing to say yet"));
      if (signal.aborted) process.exitCode = 130;
    });
}

/** A tiny run goes into no document unless one is named. */
function documentOf({ docs, tiny, plan }: Options): string | undefined {
  if (plan) return undefined;
  if (docs !== undefined) return docs;
  return !tiny && existsSync("docs/results.md") ? "docs/results.md" : undefined;
}
