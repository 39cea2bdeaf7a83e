// Builds PyTorch archives byte by byte, well formed or not, for the tests of the reader.

const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

export type Part = number | string | Uint8Array;

/** Bytes from byte values, Latin-1 text and byte arrays. */
export function bytes(...parts: Part[]): Uint8Array {
  const arrays = parts.map((part) =>
    typeof part === "number" ? Uint8Array.of(part) : typeof part === "string" ? latin1(part) : part,
  );
  const result = new Uint8Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let position = 0;
  for (const array of arrays) {
    result.set(array, position);
    position += array.length;
  }
  return result;
}

export function little(value: number | bigint, size: number): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  return Uint8Array.from({ length: size }, () => {
    const byte = Number(rest & 255n);
    rest >>= 8n;
    return byte;
  });
}

/** Pickle instructions that push a value. */
export function value(of: number | string | null | readonly (number | string)[]): Uint8Array {
  if (of === null) return bytes("N");
  if (typeof of === "number") {
    return Math.abs(of) < 2 ** 31 ? bytes("J", little(of, 4)) : bytes(0x8a, 8, little(of, 8));
  }
  if (typeof of === "string") return bytes("X", little(of.length, 4), of);
  return bytes("(", ...of.map(value), "t");
}

export const global = (module: string, name: string) => bytes("c", module, "\n", name, "\n");

/** A whole pickle of protocol 2. */
export const pickle = (...parts: Part[]) => bytes(0x80, 2, ...parts, ".");

export interface FakeTensor {
  key?: string;
  type?: string;
  elements: number;
  offset?: number;
  shape: number[];
  strides: number[];
  /** The legacy format's view of part of a storage: first element and count. */
  view?: [number, number];
}

/** Instructions that push one tensor. */
export const tensor = ({
  key = "0",
  type = "FloatStorage",
  elements,
  offset = 0,
  shape,
  strides,
  view,
}: FakeTensor) =>
  bytes(
    global("torch._utils", "_rebuild_tensor_v2"),
    "((",
    value("storage"),
    global("torch", type),
    value(key),
    value("cpu"),
    value(elements),
    view ? bytes("(", value("view"), value(view[0]), value(view[1]), "t") : bytes(),
    "tQ",
    value(offset),
    value(shape),
    value(strides),
    0x89,
    global("collections", "OrderedDict"),
    ")RtR",
  );

/** Instructions that push a dict. */
export const dict = (items: Record<string, Uint8Array>) =>
  bytes("}(", ...Object.entries(items).flatMap(([key, item]) => [value(key), item]), "u");

export interface Record_ {
  name: string;
  data: Uint8Array;
  /** What the directory says where that is not the truth. */
  says?: {
    size?: number;
    packed?: number;
    header?: number;
    method?: number;
    flags?: number;
    localName?: string;
  };
}

interface End {
  count?: number;
  start?: number;
  directory?: number;
  comment?: string;
  /** Write sizes and places in 64 bits, as for archives beyond 4 GiB, and say this of where their end record is. */
  wide?: { endAt?: number | bigint; fields?: number };
}

/** A ZIP archive of stored records. */
export function zip(records: Record_[], end: End = {}): Uint8Array {
  const { wide } = end;
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let position = 0;
  for (const { name, data, says = {} } of records) {
    const size = says.size ?? data.length;
    const packed = says.packed ?? size;
    const place = says.header ?? position;
    const local = says.localName ?? name;
    const start = [little(says.flags ?? 0, 2), little(says.method ?? 0, 2), little(0, 8)];
    const sizes = bytes(...start, little(packed, 4), little(size, 4));
    const header = bytes(
      little(0x04034b50, 4),
      little(20, 2),
      sizes,
      little(local.length, 2),
      little(0, 2),
      local,
    );
    const values = [size, packed, place].slice(0, wide?.fields ?? 3).map((number) => little(number, 8));
    const extra = wide ? bytes(little(1, 2), little(8 * values.length, 2), ...values) : bytes();
    const all = 0xffffffff;
    directory.push(
      bytes(
        little(0x02014b50, 4),
        little(20, 2),
        little(20, 2),
        wide ? bytes(...start, little(all, 4), little(all, 4)) : sizes,
        little(name.length, 2),
        little(extra.length, 2),
        little(0, 10),
        little(wide ? all : place, 4),
        name,
        extra,
      ),
    );
    parts.push(header, data);
    position += header.length + data.length;
  }
  const directoryBytes = bytes(...directory);
  const comment = end.comment ?? "";
  const count = end.count ?? records.length;
  const start = end.start ?? position;
  const wideEnd = bytes(
    little(0x06064b50, 4),
    little(44, 8),
    little(0, 12),
    little(count, 8),
    little(count, 8),
    little(directoryBytes.length, 8),
    little(start, 8),
    little(0x07064b50, 4),
    little(0, 4),
    little(wide?.endAt ?? position + directoryBytes.length, 8),
    little(1, 4),
  );
  return bytes(
    ...parts,
    directoryBytes,
    wide ? wideEnd : bytes(),
    little(0x06054b50, 4),
    little(0, 4),
    little(wide ? 0xffff : count, 2),
    little(wide ? 0xffff : count, 2),
    little(wide ? 0xffffffff : (end.directory ?? directoryBytes.length), 4),
    little(wide ? 0xffffffff : start, 4),
    little(comment.length, 2),
    comment,
  );
}

/** A PyTorch ZIP archive with this pickle and these storages. */
export const archive = (pickled: Uint8Array, storages: Record<string, Uint8Array> = {}) =>
  zip([
    { name: "a/data.pkl", data: pickled },
    ...Object.entries(storages).map(([key, data]) => ({ name: `a/data/${key}`, data })),
  ]);

/** A PyTorch legacy stream with this object pickle; storages as (key, declared elements, bytes). */
export const legacy = (pickled: Uint8Array, storages: [string, number | bigint, Uint8Array][] = []) =>
  bytes(
    pickle(0x8a, 10, little(0x1950a86a20f9469cfc6cn & 0xffffffffffffffffn, 8), 0x50, 0x19),
    pickle(value(1001)),
    pickle("}", value("little_endian"), 0x88, "s"),
    pickled,
    pickle("](", ...storages.map(([key]) => value(key)), "e"),
    ...storages.flatMap(([, elements, data]) => [little(elements, 8), data]),
  );
