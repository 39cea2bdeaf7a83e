import { quote, UserError } from "../errors.ts";
import type { ByteSource, Fail } from "./tensor-file.ts";

// The part of the ZIP format that PyTorch writes (APPNOTE.TXT 4.3 and 4.5): stored records, ZIP64 where sizes need it.
// Readers differ in what they make of a file that is a ZIP and something else too, so such a file is refused: it must
// begin with a record, end with the directory's end and hold records that do not overlap.

const END = 0x06054b50;
const END_64_LOCATOR = 0x07064b50;
const END_64 = 0x06064b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const MAX_ENTRIES = 1 << 17;
const MAX_DIRECTORY = 32 << 20;

/** Where a record's bytes lie in the file. Those of a compressed one are not to be read: there is no inflating here. */
export interface ZipEntry {
  start: number;
  size: number;
  compressed: boolean;
}

/** Reads and checks the directory of a ZIP file; names map to the place of their bytes. */
export function readZip(source: ByteSource): Map<string, ZipEntry> {
  const { path, size } = source;
  const fail = (what: string): never => {
    throw new UserError(`${path}: ${what}`);
  };
  const view = (offset: number, count: number): DataView => {
    if (offset < 0 || offset + count > size) fail("is a damaged ZIP archive (truncated?)");
    const bytes = new Uint8Array(count);
    source.read(offset, bytes);
    return new DataView(bytes.buffer);
  };
  if (size < 22 || view(0, 4).getUint32(0, true) !== LOCAL_HEADER) fail("does not begin as a ZIP archive");
  const directory = findDirectory(size, view, fail);
  if (directory.count > MAX_ENTRIES || directory.size > MAX_DIRECTORY) {
    fail(`has an absurdly large ZIP directory (${directory.count} records)`);
  }
  const bytes = view(directory.start, directory.size);
  const entries = new Map<string, ZipEntry>();
  const spans: { name: string; start: number; end: number }[] = [];
  let position = 0;
  for (let i = 0; i < directory.count; i++) {
    const entry = readDirectoryEntry(bytes, position, fail);
    position = entry.next;
    const { name, size, compressed } = entry;
    if (entries.has(name)) fail(`holds the record ${quote(name)} twice`);
    const start = dataStart(entry, view, fail);
    entries.set(name, { start, size, compressed });
    spans.push({ name, start: entry.header, end: start + size });
  }
  if (position !== directory.size) fail("has a ZIP directory of another length than it says");
  spans.sort((a, b) => a.start - b.start);
  for (const [i, span] of spans.entries()) {
    const limit = spans[i + 1]?.start ?? directory.start;
    if (span.end > limit) fail(`has a record ${quote(span.name)} that overlaps another`);
  }
  return entries;
}

type View = (offset: number, count: number) => DataView;

function findDirectory(size: number, view: View, fail: Fail): { start: number; size: number; count: number } {
  // No comment is allowed after the end record: it could hide a second directory.
  const endAt = size - 22;
  const end = view(endAt, 22);
  if (end.getUint32(0, true) !== END || end.getUint16(20, true) !== 0) {
    fail("does not end as a ZIP archive (truncated?)");
  }
  let count = end.getUint16(10, true);
  let directorySize = end.getUint32(12, true);
  let start = end.getUint32(16, true);
  let directoryEnd = endAt;
  if (endAt >= 20 && view(endAt - 20, 4).getUint32(0, true) === END_64_LOCATOR) {
    const at = Number(view(endAt - 20, 20).getBigUint64(8, true));
    if (!Number.isSafeInteger(at)) fail("is a damaged ZIP archive");
    const end64 = view(at, 56);
    if (end64.getUint32(0, true) !== END_64) fail("is a damaged ZIP archive (no ZIP64 end)");
    count = Number(end64.getBigUint64(32, true));
    directorySize = Number(end64.getBigUint64(40, true));
    start = Number(end64.getBigUint64(48, true));
    directoryEnd = at;
  }
  if (start + directorySize !== directoryEnd) fail("has bytes between its ZIP directory and the end");
  return { start, size: directorySize, count };
}

interface DirectoryEntry {
  name: string;
  /** Bytes in the file. */
  size: number;
  compressed: boolean;
  header: number;
  next: number;
}

function readDirectoryEntry(bytes: DataView, at: number, fail: Fail): DirectoryEntry {
  if (at + 46 > bytes.byteLength || bytes.getUint32(at, true) !== DIRECTORY_ENTRY) {
    return fail("has a damaged ZIP directory");
  }
  const nameEnd = at + 46 + bytes.getUint16(at + 28, true);
  const extraEnd = nameEnd + bytes.getUint16(at + 30, true);
  const next = extraEnd + bytes.getUint16(at + 32, true);
  if (next > bytes.byteLength) return fail("has a damaged ZIP directory");
  const name = new TextDecoder().decode(new Uint8Array(bytes.buffer, at + 46, nameEnd - at - 46));
  if (bytes.getUint16(at + 8, true) & 1) fail(`has an encrypted record ${quote(name)}`);
  let packed = bytes.getUint32(at + 20, true);
  let size = bytes.getUint32(at + 24, true);
  let header = bytes.getUint32(at + 42, true);
  // Extra field 1 holds, in this order, those of the three that do not fit 32 bits.
  for (let field = nameEnd; field + 4 <= extraEnd; ) {
    const id = bytes.getUint16(field, true);
    const fieldEnd = field + 4 + bytes.getUint16(field + 2, true);
    if (fieldEnd > extraEnd) return fail("has a damaged ZIP directory");
    let value = field + 4;
    const wide = (narrow: number) => {
      if (narrow !== 0xffffffff) return narrow;
      if (value + 8 > fieldEnd) return fail("has a damaged ZIP directory");
      value += 8;
      return Number(bytes.getBigUint64(value - 8, true));
    };
    if (id === 1) {
      size = wide(size);
      packed = wide(packed);
      header = wide(header);
    }
    field = fieldEnd;
  }
  const compressed = bytes.getUint16(at + 10, true) !== 0 || packed !== size;
  return { name, size: packed, compressed, header, next };
}

function dataStart({ name, header }: DirectoryEntry, view: View, fail: Fail): number {
  const local = view(header, 30);
  if (local.getUint32(0, true) !== LOCAL_HEADER)
    fail(`has no record ${quote(name)} where its directory says`);
  const nameBytes = local.getUint16(26, true);
  const localName = new TextDecoder().decode(view(header + 30, nameBytes));
  if (localName !== name) fail(`has a record ${quote(name)} that calls itself ${quote(localName)}`);
  return header + 30 + nameBytes + local.getUint16(28, true);
}
