/**
 * Sizes of axes: numbers, or polynomials over named symbols (`batch`, `samples`) and floor divisions of them, such as
 * the frames that a strided convolution leaves. Equal expressions have equal keys, so shape inference can compare
 * axes it does not know, and the emitter can compute any of them from the shapes of a graph's inputs.
 */
export type Dim = number | SymbolicDim;
export type Shape = readonly Dim[];

type Atom = { kind: "symbol"; name: string } | { kind: "floor"; of: SymbolicDim; by: number };
interface Term {
  coefficient: number;
  atoms: readonly Atom[];
}

export class SymbolicDim {
  readonly terms: ReadonlyMap<string, Term>;
  readonly key: string;

  constructor(terms: ReadonlyMap<string, Term>) {
    this.terms = terms;
    this.key = [...terms.entries()]
      .sort(([a], [b]) => (a < b ? 1 : a > b ? -1 : 0))
      .map(([monomial, { coefficient }]) =>
        monomial === "" ? `${coefficient}` : coefficient === 1 ? monomial : `${coefficient}*${monomial}`,
      )
      .join("+");
  }

  toString(): string {
    return this.key;
  }
}

const atomKey = (atom: Atom) => (atom.kind === "symbol" ? atom.name : `floor((${atom.of.key})/${atom.by})`);
const monomialKey = (atoms: readonly Atom[]) => atoms.map(atomKey).sort().join("*");

function termsOf(dim: Dim): ReadonlyMap<string, Term> {
  if (typeof dim !== "number") return dim.terms;
  return new Map(dim === 0 ? [] : [["", { coefficient: dim, atoms: [] }]]);
}

function build(terms: Iterable<Term>): Dim {
  const sum = new Map<string, Term>();
  for (const { coefficient, atoms } of terms) {
    const key = monomialKey(atoms);
    const total = coefficient + (sum.get(key)?.coefficient ?? 0);
    if (total === 0) sum.delete(key);
    else sum.set(key, { coefficient: total, atoms });
  }
  if (sum.size === 0) return 0;
  if (sum.size === 1 && sum.has("")) return sum.get("")!.coefficient;
  return new SymbolicDim(sum);
}

/** A named axis whose size is known only when the graph runs. */
export const symbol = (name: string): SymbolicDim =>
  build([{ coefficient: 1, atoms: [{ kind: "symbol", name }] }]) as SymbolicDim;

export function addDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a + b;
  return build([...termsOf(a).values(), ...termsOf(b).values()]);
}

export function mulDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a * b;
  const terms: Term[] = [];
  for (const x of termsOf(a).values())
    for (const y of termsOf(b).values())
      terms.push({ coefficient: x.coefficient * y.coefficient, atoms: [...x.atoms, ...y.atoms] });
  return build(terms);
}

export const subDim = (a: Dim, b: Dim): Dim => addDim(a, mulDim(b, -1));

/** floor(a / by); what divides exactly is taken out, so that floor((2n + 1) / 2) is n. */
export function floorDiv(a: Dim, by: number): Dim {
  if (typeof a === "number") return Math.floor(a / by);
  if (by === 1) return a;
  const outside: Term[] = [];
  const inside: Term[] = [];
  for (const { coefficient, atoms } of a.terms.values()) {
    const whole = Math.floor(coefficient / by);
    if (whole !== 0) outside.push({ coefficient: whole, atoms });
    if (coefficient !== whole * by) inside.push({ coefficient: coefficient - whole * by, atoms });
  }
  const rest = build(inside);
  if (typeof rest === "number") return build([...outside, { coefficient: Math.floor(rest / by), atoms: [] }]);
  return build([...outside, { coefficient: 1, atoms: [{ kind: "floor", of: rest, by }] }]);
}

export const product = (shape: Shape): Dim => shape.reduce(mulDim, 1);
export const dimKey = (dim: Dim): string => (typeof dim === "number" ? `${dim}` : dim.key);
export const sameDim = (a: Dim, b: Dim): boolean => dimKey(a) === dimKey(b);
export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, i) => sameDim(dim, b[i]));
export const showShape = (shape: Shape): string => `[${shape.map(dimKey).join(", ")}]`;

/** Builds a value of any arithmetic from a dimension: numbers when binding, ONNX nodes when emitting. */
export interface DimArithmetic<T> {
  constant(value: number): T;
  symbol(name: string): T;
  add(a: T, b: T): T;
  mul(a: T, b: T): T;
  floorDiv(a: T, by: number): T;
}

export function computeDim<T>(dim: Dim, on: DimArithmetic<T>): T {
  if (typeof dim === "number") return on.constant(dim);
  let sum: T | undefined;
  for (const { coefficient, atoms } of dim.terms.values()) {
    let term: T | undefined;
    for (const atom of atoms) {
      const value =
        atom.kind === "symbol" ? on.symbol(atom.name) : on.floorDiv(computeDim(atom.of, on), atom.by);
      term = term === undefined ? value : on.mul(term, value);
    }
    if (term === undefined) term = on.constant(coefficient);
    else if (coefficient !== 1) term = on.mul(term, on.constant(coefficient));
    sum = sum === undefined ? term : on.add(sum, term);
  }
  return sum!;
}

/** The size of an axis once its symbols have values. */
export function bindDim(dim: Dim, values: ReadonlyMap<string, number>): number {
  return computeDim<number>(dim, {
    constant: (value) => value,
    symbol: (name) => {
      const value = values.get(name);
      if (value === undefined) throw new Error(`axis '${name}' has no value`);
      return value;
    },
    add: (a, b) => a + b,
    mul: (a, b) => a * b,
    floorDiv: (a, by) => Math.floor(a / by),
  });
}

/** The shape two operands broadcast to (NumPy's rule), or undefined where they do not fit. */
export function broadcast(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (sameDim(x, y) || y === 1) out.push(x);
    else if (x === 1) out.push(y);
    else return undefined;
  }
  return out;
}
