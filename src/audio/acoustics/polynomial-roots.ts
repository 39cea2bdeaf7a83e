/**
 * Roots of a real polynomial by Laguerre's method (Press et al., "Numerical Recipes", section 9.5): each root is sought
 * from 0 outward in the deflated polynomial, so that small roots go first and forward deflation stays stable, then
 * polished by Newton steps in the whole one. Buffers are allocated once per degree.
 */
export class PolynomialRoots {
  /** Real and imaginary parts of the roots; of a conjugate pair only the one with a positive imaginary part. */
  readonly re: Float64Array;
  readonly im: Float64Array;
  private readonly deflated: Float64Array;

  private readonly degree: number;

  constructor(degree: number) {
    this.degree = degree;
    this.re = new Float64Array(degree);
    this.im = new Float64Array(degree);
    this.deflated = new Float64Array(degree + 1);
  }

  /** Roots of c[0] x^n + c[1] x^(n-1) + ... + c[n], c[0] not 0. Returns how many `re`, `im` hold. */
  solve(c: ArrayLike<number>): number {
    const p = this.deflated;
    for (let i = 0; i <= this.degree; i++) p[i] = c[i];
    let left = this.degree;
    let found = 0;
    while (left > 0) {
      laguerre(p, left);
      // Division is by the root as it was found: polished, neighbours in a cluster no longer make up for each other's
      // errors, and what is left of the polynomial is wrong by far more than rounding.
      const x = point[0];
      const y = Math.abs(point[1]);
      polish(c, this.degree, x, y);
      // A root this close to the real axis is a real one: a true pair so close would be a double root.
      const real = Math.abs(point[1]) <= 1e-10 * (1 + Math.abs(point[0]));
      this.re[found] = point[0];
      this.im[found] = real ? 0 : Math.abs(point[1]);
      found++;
      if (real) {
        for (let i = 1; i < left; i++) p[i] += x * p[i - 1];
        left -= 1;
      } else {
        // Divide by z^2 - 2x z + (x^2 + y^2).
        const linear = 2 * x;
        const constant = -(x * x + y * y);
        p[1] += linear * p[0];
        for (let i = 2; i < left - 1; i++) p[i] += linear * p[i - 1] + constant * p[i - 2];
        left -= 2;
      }
    }
    return found;
  }
}

const maxIterations = 60;
/** Where the last search or polish ended: one pair instead of an object for each of millions of calls. */
const point = new Float64Array(2);

/** Leaves a root of the first `degree + 1` coefficients in `point`. */
function laguerre(p: Float64Array, degree: number): void {
  let x = 0;
  let y = 0;
  for (let iteration = 1; iteration <= maxIterations; iteration++) {
    // Value b, first derivative d, half the second derivative f at x + iy, and a bound of the rounding error of b.
    let br = p[0];
    let bi = 0;
    let dr = 0;
    let di = 0;
    let fr = 0;
    let fi = 0;
    const modulus = Math.abs(x) + Math.abs(y);
    let bound = Math.abs(br);
    for (let k = 1; k <= degree; k++) {
      const f0 = fr * x - fi * y + dr;
      fi = fr * y + fi * x + di;
      fr = f0;
      const d0 = dr * x - di * y + br;
      di = dr * y + di * x + bi;
      dr = d0;
      const b0 = br * x - bi * y + p[k];
      bi = br * y + bi * x;
      br = b0;
      bound = bound * modulus + Math.abs(br) + Math.abs(bi);
    }
    const value = br * br + bi * bi;
    // The second bound keeps the quotients below from overflowing.
    if (value <= Math.max((bound * 4e-16) ** 2, 1e-140)) break;
    // g = d / b, h = g^2 - 2 f / b.
    const gr = (dr * br + di * bi) / value;
    const gi = (di * br - dr * bi) / value;
    const sr = gr * gr - gi * gi;
    const si = 2 * gr * gi;
    const hr = sr - (2 * (fr * br + fi * bi)) / value;
    const hi = si - (2 * (fi * br - fr * bi)) / value;
    const qr = (degree - 1) * (degree * hr - sr);
    const qi = (degree - 1) * (degree * hi - si);
    const length = Math.sqrt(Math.sqrt(qr * qr + qi * qi));
    const angle = 0.5 * Math.atan2(qi, qr);
    const rootR = length * Math.cos(angle);
    const rootI = length * Math.sin(angle);
    const sign = gr * rootR + gi * rootI >= 0 ? 1 : -1;
    const nr = gr + sign * rootR;
    const ni = gi + sign * rootI;
    const norm = nr * nr + ni * ni;
    let stepR: number;
    let stepI: number;
    if (norm > 0) {
      stepR = (degree * nr) / norm;
      stepI = (-degree * ni) / norm;
    } else {
      stepR = (1 + modulus) * Math.cos(iteration);
      stepI = (1 + modulus) * Math.sin(iteration);
    }
    // Every tenth step is shortened, which breaks the rare limit cycle.
    const fraction = iteration % 10 === 0 ? 0.38 : 1;
    const nextX = x - fraction * stepR;
    const nextY = y - fraction * stepI;
    if (nextX === x && nextY === y) break;
    x = nextX;
    y = nextY;
    if (stepR * stepR + stepI * stepI < 1e-18 * (x * x + y * y)) break;
  }
  point[0] = x;
  point[1] = y;
}

/** Newton steps in the undeflated polynomial until they change nothing, taken only where they are small corrections. */
function polish(c: ArrayLike<number>, degree: number, startX: number, startY: number): void {
  let x = startX;
  let y = startY;
  for (let step = 0; step < 8; step++) {
    let br = c[0];
    let bi = 0;
    let dr = 0;
    let di = 0;
    for (let k = 1; k <= degree; k++) {
      const d0 = dr * x - di * y + br;
      di = dr * y + di * x + bi;
      dr = d0;
      const b0 = br * x - bi * y + c[k];
      bi = br * y + bi * x;
      br = b0;
    }
    const norm = dr * dr + di * di;
    if (norm === 0) break;
    const stepR = (br * dr + bi * di) / norm;
    const stepI = (bi * dr - br * di) / norm;
    const relative = (stepR * stepR + stepI * stepI) / (x * x + y * y);
    if (relative > 1e-6) break;
    x -= stepR;
    y -= stepI;
    if (relative < 1e-20) break;
  }
  point[0] = x;
  point[1] = y;
}
