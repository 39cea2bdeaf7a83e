/**
 * One-to-one assignment of rows to columns with the largest total weight (Kuhn 1955, in the O(n^3) form with potentials).
 * Returns the column of each row, or -1 where there are more rows than columns.
 */
export function assign(weights: readonly (readonly number[])[]): number[] {
  const rows = weights.length;
  const columns = Math.max(0, ...weights.map((row) => row.length));
  // Padding to a square with weight 0 leaves the surplus unassigned at no price.
  const size = Math.max(rows, columns);
  const cost = (i: number, j: number) => (i < rows && j < columns ? -weights[i][j] : 0);
  const rowPotential = new Float64Array(size + 1);
  const columnPotential = new Float64Array(size + 1);
  // Row of each column; column `size` is where each new row enters.
  const owner = new Int32Array(size + 1).fill(-1);
  for (let row = 0; row < size; row++) {
    const slack = new Float64Array(size + 1).fill(Infinity);
    const previous = new Int32Array(size + 1).fill(-1);
    const visited = new Uint8Array(size + 1);
    owner[size] = row;
    let at = size;
    do {
      visited[at] = 1;
      const current = owner[at];
      let delta = Infinity;
      let next = -1;
      for (let j = 0; j < size; j++) {
        if (visited[j]) continue;
        const reduced = cost(current, j) - rowPotential[current] - columnPotential[j];
        if (reduced < slack[j]) {
          slack[j] = reduced;
          previous[j] = at;
        }
        if (slack[j] < delta) {
          delta = slack[j];
          next = j;
        }
      }
      for (let j = 0; j <= size; j++) {
        if (visited[j]) {
          rowPotential[owner[j]] += delta;
          columnPotential[j] -= delta;
        } else slack[j] -= delta;
      }
      at = next;
    } while (owner[at] !== -1);
    for (; at !== size; at = previous[at]) owner[at] = owner[previous[at]];
  }
  const columnOf = new Array<number>(rows).fill(-1);
  for (let j = 0; j < columns; j++) if (owner[j] >= 0 && owner[j] < rows) columnOf[owner[j]] = j;
  return columnOf;
}
