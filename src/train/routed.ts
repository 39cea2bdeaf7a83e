import { UserError } from "../errors.ts";
import { applyBits } from "../params/mask.ts";
import { f32, type Value } from "../runtime/program.ts";
import { backboneHash } from "./mask-file.ts";
import type { MaskBits } from "./masks.ts";
import { backboneStore, type Pack, readPack } from "./pack.ts";
import type { ParameterStore } from "./store.ts";

/** One task over a shared backbone: its masks as bits, one a weight, and its own parameters. */
export interface RoutedTask {
  readonly pack: Pack;
  readonly masks: readonly MaskBits[];
  readonly own: Readonly<Record<string, Value>>;
}

/**
 * One backbone with many tasks (S3-Router, section 3.4): each costs its packed bits and heads, and changing the task writes the
 * effective weights of the masked matrices anew. In memory stand the backbone, one more copy of what is masked, and the packs.
 */
export class RoutedModel {
  /** What the present task's graph is given. */
  readonly tasks = new Map<string, RoutedTask>();
  private readonly store: ParameterStore;
  private readonly prefix: string;
  private readonly path: string;
  /** Effective weights of every matrix that some task masks. */
  private readonly effective = new Map<string, Float32Array>();
  private readonly hashes = new Map<string, string>();
  private present: string | undefined;
  private feeds: Record<string, Value> = {};

  private constructor(store: ParameterStore, prefix: string, path: string) {
    this.store = store;
    this.prefix = prefix;
    this.path = path;
  }

  /**
   * Loads the backbone once, and every pack. Tasks go by the packs' names.
   * @throws UserError where a pack belongs to another backbone, or two have one name
   */
  static open(paths: readonly string[], backbone?: string): RoutedModel {
    const packs = paths.map((path) => readPack(path));
    const [first] = packs;
    const { upstream } = first.task.model;
    // Without heads: only the upstream is shared.
    const store = backboneStore({ ...first, task: { ...first.task, objectives: [] } }, backbone);
    const model = new RoutedModel(store, upstream.prefix, backbone ?? first.source ?? "");
    for (const pack of packs) model.add(pack);
    return model;
  }

  private add(pack: Pack): void {
    const { path, name } = pack;
    const twin = this.tasks.get(name);
    if (twin !== undefined)
      throw new UserError(
        `${path}: is named "${name}", as ${twin.pack.path} is; give each task's run a name of its own`,
      );
    const found = this.hashWithout([...pack.own.keys()]);
    if (found !== pack.backbone)
      throw new UserError(
        `${path}: belongs to another backbone than ${this.path || "that of the first pack"} (hash ${pack.backbone.slice(0, 12)}, not ${found.slice(0, 12)})`,
      );
    const masks = pack.masks((matrix) => this.store.array(matrix));
    for (const matrix of masks)
      if (!this.effective.has(matrix.name))
        this.effective.set(matrix.name, new Float32Array(this.store.array(matrix.name).length));
    const own = Object.fromEntries([...pack.own].map(([key, { shape, data }]) => [key, f32(shape, data)]));
    this.tasks.set(name, { pack, masks, own });
    this.present = undefined;
  }

  /** Hashing a backbone takes a second: packs of one kind share the result. */
  private hashWithout(own: readonly string[]): string {
    const mine = own.filter((name) => name.startsWith(`${this.prefix}.`));
    const key = mine.sort().join();
    const known =
      this.hashes.get(key) ??
      backboneHash(
        this.store,
        this.prefix,
        () => undefined,
        (name) => mine.includes(name),
      );
    this.hashes.set(key, known);
    return known;
  }

  /** Changes the task, and gives the graph inputs of all its parameters; they are good until the next change. */
  use(name: string): Readonly<Record<string, Value>> {
    const task = this.tasks.get(name);
    if (task === undefined)
      throw new UserError(`there is no pack for "${name}"; there are ${[...this.tasks.keys()].join(", ")}`);
    if (this.present === name) return this.feeds;
    const masked = new Map(task.masks.map((mask) => [mask.name, mask.bits]));
    const changed: Record<string, Value> = {};
    for (const [matrix, effective] of this.effective) {
      const weights = this.store.array(matrix);
      const bits = masked.get(matrix);
      if (bits === undefined) effective.set(weights);
      else applyBits(bits, weights, effective);
      changed[matrix] = f32(this.store.specs.get(matrix)!.shape, effective);
    }
    this.present = name;
    this.feeds = { ...this.store.values, ...changed, ...task.own };
    return this.feeds;
  }

  /** The shared weights by name, as no task masks them. */
  get backbone(): Readonly<Record<string, Value>> {
    return this.store.values;
  }

  /** Bytes held: the backbone, the copy of what is masked, and each task's bits and own parameters. */
  memory(): { backbone: number; effective: number; tasks: Record<string, number> } {
    const sum = (numbers: Iterable<number>) => [...numbers].reduce((a, b) => a + b, 0);
    const tasks = Object.fromEntries(
      [...this.tasks].map(([name, { masks, own }]) => [
        name,
        sum(masks.map(({ bits }) => bits.byteLength)) +
          sum(Object.values(own).map(({ data }) => data.byteLength)),
      ]),
    );
    return {
      backbone: this.store.weights.byteLength,
      effective: sum([...this.effective.values()].map(({ byteLength }) => byteLength)),
      tasks,
    };
  }
}
