import type { Command } from "commander";
import { newCommand } from "./command.ts";

export function analyseCommand(): Command {
  return newCommand("analyse", "x", ["x"]);
}
