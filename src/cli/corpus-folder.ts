import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../errors.ts";

/**
 * Makes a folder that appears under its name only when it is complete: `make` fills a temporary one beside it, which
 * goes if that fails or is interrupted.
 *
 * @throws UserError where the folder exists already
 */
export async function makeFolder<Result>(
  folder: string,
  make: (work: string) => Promise<Result>,
): Promise<Result> {
  if (existsSync(folder))
    throw new UserError(`${folder}: exists already; name a new folder or remove it first`);
  const parent = dirname(resolve(folder));
  mkdirSync(parent, { recursive: true });
  const temporary = mkdtempSync(join(parent, `.${basename(folder)}-`));
  const remove = () => rmSync(temporary, { recursive: true, force: true });
  const onSignal = (signal: NodeJS.Signals) => {
    remove();
    process.stderr.write("\nstopped; nothing is written\n");
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    const work = join(temporary, "corpus");
    const result = await make(work);
    renameSync(work, folder);
    return result;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    remove();
  }
}
