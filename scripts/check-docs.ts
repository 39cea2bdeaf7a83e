/**
 * Checks what README.md and docs/ tell a reader to type: every `voxsmith COMMAND` exists and knows the options shown
 * with it, every `npm run NAME` is a script, and every relative link leads to a file.
 *
 *     npm run check-docs
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const root = resolve(import.meta.dirname, "..");

export interface DocCommand {
  readonly file: string;
  /** "train", with the options of the line: ["--data"]. */
  readonly name: string;
  readonly options: readonly string[];
}

/** What stands in code spans and code blocks, line by line. */
function* codeLines(text: string): Generator<string> {
  for (const block of text.matchAll(/```[a-z]*\n(.*?)```/gs))
    yield* block[1].replace(/\\\n/g, " ").split("\n");
  for (const span of text.replace(/```.*?```/gs, "").matchAll(/`([^`\n]+)`/g)) yield span[1];
}

/** `voxsmith NAME ...` in the code of a page. Words in capitals stand for any command. */
export function commandsIn(file: string, text: string): DocCommand[] {
  return [...codeLines(text)].flatMap((line) =>
    [...line.matchAll(/\bvoxsmith(?:\.js)? ([a-z][a-z-]*)\b([^|;#&]*)/g)].map((match) => ({
      file,
      name: match[1],
      options: [...match[2].matchAll(/(?:^|\s)(--[a-z][a-z-]*)/g)].map(([, option]) => option),
    })),
  );
}

export function scriptsIn(text: string): string[] {
  return [...codeLines(text)].flatMap((line) =>
    [...line.matchAll(/\bnpm run ([a-z][a-z-]*)/g)].map((match) => match[1]),
  );
}

export function linksIn(text: string): string[] {
  return [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
    .map((match) => match[1])
    .filter((link) => !/^[a-z]+:/.test(link));
}

function helpOf(name: string): string | undefined {
  const { status, stdout } = spawnSync(process.execPath, [join(root, "bin/voxsmith.js"), name, "--help"], {
    encoding: "utf8",
  });
  return status === 0 ? stdout : undefined;
}

/** One sentence for each thing that does not exist. */
export function faults(
  pages: ReadonlyMap<string, string>,
  help: (name: string) => string | undefined,
): string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  const known = new Map<string, string | undefined>();
  const found: string[] = [];
  for (const [file, text] of pages) {
    for (const { name, options } of commandsIn(file, text)) {
      if (!known.has(name)) known.set(name, help(name));
      const page = known.get(name);
      if (page === undefined) found.push(`${file}: \`voxsmith ${name}\` is not a command`);
      for (const option of options)
        if (page !== undefined && option !== "--help" && !page.includes(option))
          found.push(`${file}: \`voxsmith ${name}\` has no option ${option}`);
    }
    for (const name of scriptsIn(text))
      if (!(name in scripts)) found.push(`${file}: \`npm run ${name}\` is not a script`);
    for (const link of linksIn(text))
      if (!existsSync(join(root, dirname(file), link))) found.push(`${file}: the link ${link} leads nowhere`);
  }
  return found;
}

export function pages(): Map<string, string> {
  const docs = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  const files = ["README.md", ...docs.map((name) => `docs/${name}`)];
  return new Map(files.map((file) => [file, readFileSync(join(root, file), "utf8")]));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const all = pages();
  const found = faults(all, helpOf);
  for (const fault of found) console.error(fault);
  const commands = new Set(
    [...all].flatMap(([file, text]) => commandsIn(file, text).map(({ name }) => name)),
  );
  console.log(`${all.size} pages, ${commands.size} commands: ${[...commands].sort().join(", ")}`);
  process.exitCode = found.length > 0 ? 1 : 0;
}
