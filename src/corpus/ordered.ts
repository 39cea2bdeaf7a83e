/**
 * Runs a task for each item, at most `ahead` of them at a time beyond the one that is waited for, and gives results in the
 * items' order. Results are settled: a fault of one item is the caller's to judge.
 */
export async function* ordered<Item, Result>(
  items: readonly Item[],
  ahead: number,
  run: (item: Item) => Promise<Result>,
): AsyncGenerator<[Item, PromiseSettledResult<Result>], void, undefined> {
  const queue: Promise<PromiseSettledResult<Result>[]>[] = [];
  for (let at = 0; at < items.length; at++) {
    while (queue.length < ahead && at + queue.length < items.length)
      queue.push(Promise.allSettled([run(items[at + queue.length])]));
    const [settled] = await queue.shift()!;
    yield [items[at], settled];
  }
}
