import { Command } from "commander";
import { command as masks } from "./analyse-masks.ts";

/** `voxsmith analyse WHAT`. */
export function command(): Command {
  return new Command("analyse")
    .description("Looks into what was learned.")
    .addCommand(masks())
    .addHelpText(
      "after",
      "\nExample:\n  $ voxsmith analyse masks runs/nld runs/fra --phoible ../shared/data/phoible/inventories.tsv --out masks.html\n\nEvery command takes --json.",
    );
}
