import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import ts from "typescript";

/** The project's sources. */
export const source = resolve(import.meta.dirname, "../../src");

/** Writes sources (files below src, or whole folders of it) as JavaScript into a folder, each in its place. */
export function buildInto(folder: string, ...paths: string[]): void {
  const files = paths.flatMap((path) =>
    path.endsWith(".ts")
      ? [path]
      : readdirSync(join(source, path), { recursive: true, encoding: "utf8" })
          .filter((name) => name.endsWith(".ts"))
          .map((name) => join(path, name)),
  );
  for (const file of files) {
    const target = join(folder, file.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, toJavaScript(readFileSync(join(source, file), "utf8")));
  }
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
}

const toJavaScript = (code: string) =>
  ts.transpileModule(code, {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2023,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  }).outputText;
