type Point = readonly [x: number, y: number];

/**
 * A running mean over about a fiftieth of the curve, centred, for curves of more than 100 points; shorter ones come back as
 * they are (the same array).
 */
export function smooth(points: readonly Point[]): readonly Point[] {
  if (points.length <= 100) return points;
  const reach = Math.round(points.length / 100);
  return points.map(([x], i) => {
    // Fewer neighbours at the ends, as many on either side: no shift where the curve is steep.
    const side = Math.min(reach, i, points.length - 1 - i);
    let sum = 0;
    for (let k = i - side; k <= i + side; k++) sum += points[k][1];
    return [x, sum / (2 * side + 1)];
  });
}

/** At most about `most` points: the lowest and the highest of each stretch, so that peaks stay; first and last are kept. */
export function thin(points: readonly Point[], most: number): readonly Point[] {
  if (points.length <= most) return points;
  const stretch = Math.ceil((2 * points.length) / most);
  const out: Point[] = [points[0]];
  for (let start = 1; start < points.length - 1; start += stretch) {
    const part = points.slice(start, Math.min(start + stretch, points.length - 1));
    const low = part.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = part.reduce((a, b) => (b[1] > a[1] ? b : a));
    out.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  out.push(points[points.length - 1]);
  return out;
}
