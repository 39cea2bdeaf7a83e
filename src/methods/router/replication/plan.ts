import { join, resolve } from "node:path";
import { AVAILABLE, type CellSpec } from "./cells.ts";

/** The paper's languages: our short name, voice of espeak-ng and ISO 639-3 code. English is real speech. */
export const LANGUAGES = [
  ["nl", "nl", "nld"],
  ["cmn", "cmn", "cmn"],
  ["es", "es", "spa"],
  ["tt", "tt", "tat"],
  ["ru", "ru", "rus"],
  ["it", "it", "ita"],
  ["ky", "ky", "kir"],
  ["tr", "tr", "tur"],
  ["sv", "sv", "swe"],
  ["fr", "fr", "fra"],
  ["en", "", "eng"],
] as const;
export type Language = (typeof LANGUAGES)[number][0];

export interface Scale {
  readonly languages: readonly Language[];
  /** Languages of the full grid, and the minutes of labels there. */
  readonly grid: readonly Language[];
  readonly minutes: readonly number[];
  readonly sparsities: readonly number[];
  readonly inits: readonly string[];
  readonly seeds: readonly number[];
  readonly pruned: readonly number[];
  readonly moduleSparsities: readonly number[];
  readonly taskSparsities: readonly number[];
  /** Layers of the upstream. */
  readonly layers: number;
  /** Changes of every run's recipe, and of that of the upstream. */
  readonly set: readonly string[];
  readonly upstream: readonly string[];
  /** Speakers of a language's synthetic speech. */
  readonly speakers: number;
}

export const FULL: Scale = {
  languages: LANGUAGES.map(([name]) => name),
  grid: ["nl", "cmn"],
  minutes: [1, 10, 60],
  sparsities: [0.04, 0.1, 0.2, 0.4],
  inits: ["order-preserving", "random", "magnitude", "magnitude-mask"],
  seeds: [1, 2, 3],
  pruned: [0.1, 0.3, 0.5, 0.7, 0.9],
  moduleSparsities: [0.1, 0.2, 0.3, 0.4],
  taskSparsities: [0.04, 0.1, 0.2],
  layers: 4,
  set: [],
  upstream: [],
  speakers: AVAILABLE.speakers,
};

export const TINY: Scale = {
  ...FULL,
  languages: ["nl", "fr", "en"],
  grid: ["nl"],
  minutes: [10],
  sparsities: [0.1],
  inits: ["order-preserving"],
  seeds: [1, 2],
  pruned: [0.5],
  moduleSparsities: [0.1],
  taskSparsities: [0.1],
  layers: 1,
  set: ["steps=2", "evaluate.every=2", "batch.size=4"],
  upstream: [
    ...["upstream.config.hidden_size=16", "upstream.config.num_hidden_layers=1"],
    "upstream.config.intermediate_size=16",
    "steps=2",
    "evaluate.every=2",
    "corpus.synthetic.speakers=5",
    "corpus.synthetic.utterances=2",
    "corpus.synthetic.sentences=[The garden gate is open., Two birds sat on the fence.]",
  ],
  speakers: 10,
};

/** About two seconds an utterance. */
const UTTERANCES_A_MINUTE = 30;
const RECIPES = resolve(import.meta.dirname, "../../../../recipes/router");
export const UPSTREAM_RECIPE = join(RECIPES, "upstream.yaml");
const PHONES = join(RECIPES, "phones.yaml");

export interface Sources {
  /** The model that everything starts from, and whether its audio is normalised. */
  readonly upstream: string;
  readonly normalize: boolean;
  /** Folder with a derived manifest of real English. */
  readonly english: string;
  /** All phones of a language: few labels need not hold each of them. */
  readonly symbols: ReadonlyMap<string, readonly string[]>;
}

/** A run of phoneme recognition. */
export function phoneSpec(
  scale: Scale,
  { upstream, normalize, english, symbols }: Sources,
  part: string,
  language: Language,
  method: string,
  plan: readonly string[],
  options: { minutes?: number; seed?: number } = {},
): CellSpec {
  const { minutes = 10, seed } = options;
  const voice = LANGUAGES.find(([name]) => name === language)![1];
  const corpus =
    voice === ""
      ? ["corpus={manifest: manifest.jsonl}", "objectives.phones.dropStress=true"]
      : [`corpus.synthetic.voice=${voice}`, `corpus.synthetic.speakers=${scale.speakers}`];
  return {
    ...{ part, method, language, recipe: PHONES, seed },
    set: [
      ...corpus,
      `corpus.symbols=${JSON.stringify(symbols.get(language))}`,
      `corpus.normalize=${normalize}`,
      `upstream.model=${upstream}`,
      ...scale.set,
      ...plan,
    ],
    ...(voice === "" ? { data: english } : { utterances: minutes * UTTERANCES_A_MINUTE }),
  };
}

export const WEIGHTS = "weights";
export const maskPlan = (sparsity: number, init = "order-preserving", more = ""): string[] => [
  `plan.mask={sparsity: ${sparsity}, init: ${init}${more}}`,
];
export const maskName = (sparsity: number, init: string): string => `mask ${init} ${sparsity}`;

/** Part A: every method over every amount of labels, on two languages. */
export const gridSpecs = (scale: Scale, sources: Sources): CellSpec[] =>
  scale.grid.flatMap((language) =>
    scale.minutes.flatMap((minutes) =>
      [...otherMethods(), ...maskMethods(scale)].map(([method, plan]) =>
        phoneSpec(scale, sources, "grid", language, method, plan, { minutes }),
      ),
    ),
  );

export const otherMethods = (): [string, string[]][] => [
  [WEIGHTS, []],
  ["adapters", ["plan.adapter={width: 32}"]],
  ["adapters houlsby", ["plan.adapter={kind: houlsby, width: 16}"]],
  ["lora", ["plan.lora={rank: 8}"]],
];

export const maskMethods = ({ sparsities, inits }: Scale): [string, string[]][] =>
  inits.flatMap((init) =>
    sparsities.map((sparsity): [string, string[]] => [maskName(sparsity, init), maskPlan(sparsity, init)]),
  );

/** Part C: weights and masks at 10 % on all languages, ten minutes. */
export const languageSpecs = (scale: Scale, sources: Sources): CellSpec[] =>
  scale.languages.flatMap((language) => [
    phoneSpec(scale, sources, "languages", language, WEIGHTS, []),
    phoneSpec(scale, sources, "languages", language, "mask", maskPlan(0.1)),
  ]);

/** Part F: which modules and which layers (Tables 7 and 8). */
export const ablationSpecs = (scale: Scale, sources: Sources): CellSpec[] => {
  const [language] = scale.grid;
  const spec = (method: string, plan: string[]) =>
    phoneSpec(scale, sources, "ablations", language, method, plan);
  return [
    ...["ffn", "attention", "both"].flatMap((modules) =>
      scale.moduleSparsities.map((s) =>
        spec(`${modules} ${s}`, maskPlan(s, "order-preserving", `, modules: ${modules}`)),
      ),
    ),
    ...layerGroups(scale.layers).map((layers) =>
      spec(
        layers.length === 1 ? `layer ${layers[0]}` : `layers ${layers[0]} to ${layers.at(-1)}`,
        maskPlan(0.1, "order-preserving", `, layers: [${layers}]`),
      ),
    ),
  ];
};

/** The layers in four groups of one size, as far as there are so many (Table 8). */
export const layerGroups = (layers: number): number[][] => {
  const groups = Math.min(4, layers);
  const start = (group: number) => Math.round((group * layers) / groups);
  return Array.from({ length: groups }, (_, group) =>
    Array.from({ length: start(group + 1) - start(group) }, (_, i) => start(group) + i),
  );
};

const prune = (s: number, more: string) => [`plan.prune={sparsity: ${s}, every: 25${more}}`];

/** S3-Router-P under each start of its masks (the paper's is by magnitude) and what it is compared with, by sparsity. */
export const PRUNING: readonly [name: string, plan: (sparsity: number) => string[], tuned?: boolean][] = [
  ["S3-Router-P", (s) => maskPlan(s, "magnitude", ", modules: both"), true],
  ["S3-Router-P order-preserving", (s) => maskPlan(s, "order-preserving", ", modules: both"), true],
  ["S3-Router-P random", (s) => maskPlan(s, "random", ", modules: both"), true],
  ["one-shot", (s) => prune(s, ", zeros: hold, start: 0.5")],
  ["iterative", (s) => prune(s, `, zeros: hold, start: 0.25, initial: ${s / 4}, until: 0.75`)],
  ["PARP", (s) => prune(s, "")],
  ["PARP per matrix", (s) => prune(s, ", scope: matrix, biases: false")],
  ["PARP-P", (s) => prune(s, `, initial: ${s / 2}, until: 0.75`)],
];

/** Part D: pruning; `tuned` is the folder of the fine-tuned run that S3-Router-P starts from. */
export const pruningSpecs = (scale: Scale, sources: Sources, tuned: string): CellSpec[] => {
  const [language] = scale.grid;
  const start = [`upstream.model=${tuned}`, "upstream.heads=load"];
  return scale.pruned.flatMap((s) =>
    PRUNING.map(([name, plan, fromTuned]) =>
      phoneSpec(scale, sources, "pruning", language, `${name} ${s}`, [
        ...plan(s),
        ...(fromTuned ? start : []),
      ]),
    ),
  );
};

/** Part E: other tasks (Table 5): a label of a corpus, by folder. */
export const taskSpecs = (
  scale: Scale,
  { upstream, normalize }: Sources,
  corpora: readonly { task: string; label: string; folder: string }[],
): CellSpec[] =>
  corpora.flatMap(({ task, label, folder }) =>
    [[WEIGHTS, []] as const, ...scale.taskSparsities.map((s) => [`mask ${s}`, maskPlan(s)] as const)].map(
      ([method, plan]) => ({
        ...{ part: "tasks", method, language: task, recipe: PHONES, data: folder },
        set: [
          ...["corpus={manifest: manifest.jsonl, maxSeconds: 12}", `corpus.normalize=${normalize}`],
          `objectives={task: {loss: cross-entropy, target: labels.${label}}}`,
          ...["evaluate.best=task.accuracy", `upstream.model=${upstream}`, ...scale.set, ...plan],
        ],
      }),
    ),
  );
