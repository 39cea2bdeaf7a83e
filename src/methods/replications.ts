/** Replications of the papers at the size of a workstation: each brings its plan, its runs and its own section of the results. */

export interface ReplicationOptions {
  /** The folder that holds the corpora, one folder each. */
  readonly data: string;
  /** Where runs and tables of this replication stand; a later call goes on from what it finds there. */
  readonly folder: string;
  /** Seconds that this call may take; nothing starts that is expected to end later. */
  readonly budget?: number;
  /** Processor threads of a run. */
  readonly threads: number;
  /** Runs at the same time. */
  readonly jobs: number;
  /** A model folder to start from instead of the one that the replication chooses. */
  readonly upstream?: string;
  /** Says what would be run and how long it would take, and runs nothing. */
  readonly planOnly: boolean;
  /** The same path with next to nothing in it: shows that everything works, says nothing about the paper. */
  readonly tiny: boolean;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

export interface ReplicationOutcome {
  /** Markdown for docs/results.md, headings from the third level on; undefined where there is nothing to say yet. */
  readonly section?: string;
  /** Runs that have no result yet: the budget or Ctrl-C came first. */
  readonly left: number;
  /** What `--json` prints. */
  readonly result: unknown;
}

export interface Replication {
  readonly name: string;
  readonly summary: string;
  /** Heading of its section. */
  readonly title: string;
  load(): Promise<{ replicate(options: ReplicationOptions): Promise<ReplicationOutcome> }>;
}

/** Every replication there is; each stands in a folder of `src/methods`, in `results.ts`. */
export const replications: readonly Replication[] = [
  {
    name: "severity",
    summary:
      "multi-task severity grading against single-task and baselines, on simulated grades and on age bands",
    title: "Severity and phonemes together",
    load: () => import("./severity/results.ts"),
  },
  {
    name: "speech-ft",
    summary: "fine-tuning, merging back and L2 to the start on three tasks; two tasks in four ways; probes",
    title: "Speech-FT",
    load: () => import("./speech-ft/results.ts"),
  },
  {
    name: "pretext-selection",
    summary:
      "PASE-like models pre-trained with groups of pretext tasks and with single ones, wav2vec 2.0 with and without them",
    title: "Pretext-task selection in miniature",
    load: () => import("./pretext/results.ts"),
  },
  {
    name: "router",
    summary: "S3-Router: masks against weights, adapters and LoRA, pruning, what masks say of languages",
    title: "S3-Router in miniature",
    load: () => import("./router/results.ts"),
  },
  {
    name: "nano",
    summary: "the toolkit's own small model beside random weights and log mel on test speakers",
    title: "models/nano",
    load: () => import("./nano/results.ts"),
  },
];

/**
 * A document with the section between `<!-- results:NAME -->` and `<!-- /results:NAME -->` replaced, or added at the
 * end. Everything else stays as it is.
 */
export function withSection(document: string, name: string, title: string, section: string): string {
  const [open, close] = [`<!-- results:${name} -->`, `<!-- /results:${name} -->`];
  const block = `${open}\n## ${title}\n\n${section.trim()}\n${close}`;
  const from = document.indexOf(open);
  const to = document.indexOf(close, from);
  if (from < 0 || to < 0) return `${document.trimEnd()}\n\n${block}\n`;
  return document.slice(0, from) + block + document.slice(to + close.length);
}
