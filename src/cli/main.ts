import { Command, CommanderError } from "commander";
import { closest, RunError, UserError } from "../errors.ts";
import { ownVersion } from "../train/versions.ts";
import { commands } from "./commands.ts";

/** Runs `voxsmith ARGS` and returns the exit status: 0 done, 1 failed, 2 bad usage or bad input. */
async function main(args: string[]): Promise<number> {
  try {
    await program(args);
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      complain(usage(error));
      return 2;
    }
    if (error instanceof UserError || error instanceof RunError) {
      complain(error.message);
      return error instanceof UserError ? 2 : 1;
    }
    complain(`unexpected error, please report it: ${(error as Error)?.stack ?? error}`);
    return 1;
  }
}

async function program(args: string[]): Promise<void> {
  const root = withManners(new Command("voxsmith"))
    .description("Adapt self-supervised speech models to tasks with little data.")
    .usage("COMMAND [options]")
    .version(ownVersion(), "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .addHelpText("after", "\n`voxsmith COMMAND --help` says more. Example:\n  $ voxsmith doctor");

  const name = args[0]?.startsWith("-") ? undefined : args[0];
  const entry = commands.find((each) => each.name === name);
  if (name !== undefined && entry === undefined) {
    const near = closest(
      name,
      commands.map((each) => each.name),
    );
    throw new UserError(
      `\`${name}\` is not a command; ${near ? `did you mean \`${near}\`?` : "`voxsmith --help` lists them"}`,
    );
  }
  for (const each of commands) root.command(each.name).description(each.summary);
  if (entry) {
    const command = withManners((await entry.load()).command());
    await command.parseAsync(args.slice(1), { from: "user" });
  } else if (args.length === 0) {
    root.outputHelp();
  } else {
    await root.parseAsync(args, { from: "user" });
  }
}

/** Errors are thrown, not printed, and help names the program as users call it; subcommands inherit both. */
function withManners(command: Command): Command {
  const settle = (each: Command) => {
    each.exitOverride().configureOutput({ outputError: () => {} });
    for (const child of each.commands) settle(child);
  };
  settle(command);
  if (command.name() !== "voxsmith") command.name(`voxsmith ${command.name()}`);
  return command;
}

/** Commander's message as the rest of our sentence. */
function usage(error: CommanderError): string {
  return error.message
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean (.*)\?\)$/, "; did you mean $1?")
    .replaceAll("'", "`");
}

function complain(message: string): void {
  process.stderr.write(`voxsmith: ${message}\n`);
}

// `voxsmith ... | head` closes the pipe early; that is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});
process.exitCode = await main(process.argv.slice(2));
