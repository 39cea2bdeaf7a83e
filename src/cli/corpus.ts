import type { Command } from "commander";
import { readers } from "../corpus/readers/index.ts";
import { closest, UserError } from "../errors.ts";
import { newCommand } from "./command.ts";
import { degradeCommand, simulateCommand } from "./corpus-degrade.ts";
import { readerCommands } from "./corpus-read.ts";
import {
  alignmentsCommand,
  checkCommand,
  fetchCommand,
  sampleCommand,
  statsCommand,
  synthCommand,
  wordsCommand,
} from "./corpus-tools.ts";

export function command(): Command {
  const tools = [
    statsCommand(),
    checkCommand(),
    fetchCommand(),
    synthCommand(),
    sampleCommand(),
    alignmentsCommand(),
    wordsCommand(),
    degradeCommand(),
    simulateCommand(),
  ];
  const corpora = readerCommands();
  const root = newCommand(
    "corpus",
    "Writes manifests of corpora as they were downloaded, and examines, makes and changes corpora.",
    [
      "corpus fsdd free-spoken-digit-dataset --out fsdd.jsonl",
      "corpus stats fsdd.jsonl",
      "corpus check fsdd.jsonl",
    ],
  )
    .usage("NAME [options]")
    .argument("[name]", "a corpus or one of the commands below; `voxsmith corpus NAME --help` says more")
    .argument("[rest...]")
    .allowUnknownOption()
    // Options after NAME are that command's, --json too.
    .enablePositionalOptions()
    .helpCommand(false)
    .action((name: string | undefined) => {
      const names = [...Object.keys(readers), ...tools.map((tool) => tool.name())];
      if (name === undefined)
        throw new UserError("name a corpus or a command; `voxsmith corpus --help` lists them");
      const near = closest(name, names);
      throw new UserError(
        `\`${name}\` is no corpus known here; ${near ? `did you mean \`${near}\`?` : "`voxsmith corpus --help` lists them, and `voxsmith corpus csv` reads any table"}`,
      );
    });
  root.commandsGroup("Commands:");
  for (const tool of tools) root.addCommand(tool);
  root.commandsGroup("Corpora:");
  for (const corpus of corpora) root.addCommand(corpus);
  return root;
}
