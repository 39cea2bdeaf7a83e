import { quote } from "../errors.ts";
import type { ByteCursor } from "./byte-cursor.ts";
import { type Builder, findGlobal, Instance } from "./pickle-globals.ts";

// A pickle is a program for a stack machine whose GLOBAL and REDUCE instructions import and call anything. This machine
// has no import: a name is looked up in a fixed table (pickle-globals.ts) of things it can build itself, and any other
// name ends the reading. It never recurses, and every element it copies is charged against MAX_WORK, so that time and
// memory are bounded. Instructions: the CPython library's pickletools.py. Written by protocols 2 to 5.

// A checkpoint with optimiser state takes some hundred thousand instructions.
const MAX_WORK = 1 << 22;
const MAX_INTEGER_BYTES = 64;

const MARK = Symbol("mark");

/**
 * Reads one pickle from where the cursor stands to its STOP instruction.
 *
 * Dicts become `Map`, lists, tuples and sizes arrays, sets `Set`, bytes `Uint8Array`, None null, integers numbers (bigint
 * beyond 2^53), objects of the allowed plain classes `Instance`.
 *
 * @param load gives the object that a persistent id (in PyTorch: a storage) stands for
 */
export function readPickle(cursor: ByteCursor, load: (id: unknown) => unknown): unknown {
  const { fail } = cursor;
  const stack: unknown[] = [];
  const memo = new Map<number, unknown>();

  let work = 0;
  const charge = (more: number) => {
    work += more;
    if (work > MAX_WORK) fail("holds a pickle that is absurdly large");
  };
  const machine = { fail, charge };
  const push = (value: unknown) => {
    stack.push(value);
  };
  const pop = (): unknown => {
    if (stack.length === 0) fail("is not a valid pickle (the stack is empty)");
    const value = stack.pop();
    if (value === MARK) fail("is not a valid pickle (a mark where a value belongs)");
    return value;
  };
  const top = (): unknown => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const popToMark = (): unknown[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) return fail("is not a valid pickle (no mark)");
    const values = stack.slice(mark + 1);
    stack.length = mark;
    return values;
  };
  const list = (value: unknown): unknown[] =>
    Array.isArray(value) ? value : fail("is not a valid pickle (append to what is no list)");
  const setItems = (target: unknown, items: unknown[]) => {
    if (!(target instanceof Map) || items.length % 2) {
      return fail("is not a valid pickle (items for what is no dict)");
    }
    for (let i = 0; i < items.length; i += 2) target.set(items[i], items[i + 1]);
  };
  const builder = (value: unknown): Builder =>
    value !== null && typeof value === "object" && "build" in value
      ? (value as Builder)
      : fail("calls something that is not a name");
  const args = (value: unknown): unknown[] =>
    Array.isArray(value) ? value : fail("is not a valid pickle (arguments that are no tuple)");
  const recall = (index: number): unknown =>
    memo.has(index) ? memo.get(index) : fail(`is not a valid pickle (memo ${index} is empty)`);
  const integer = (bytes: number): number | bigint => {
    if (bytes > MAX_INTEGER_BYTES) fail(`holds an integer of ${bytes} bytes`);
    let value = 0n;
    for (const [i, byte] of cursor.bytes(bytes).entries()) value |= BigInt(byte) << BigInt(8 * i);
    value = BigInt.asIntN(8 * bytes, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  };
  const latin1 = (bytes: Uint8Array) => {
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
  };
  const text = (value: unknown): string => (typeof value === "string" ? value : fail("names no text"));

  for (;;) {
    charge(1);
    const code = cursor.u8();
    switch (code) {
      case 0x80: // PROTO
        if (cursor.u8() > 5) fail("is a pickle of an unknown protocol");
        break;
      case 0x95: // FRAME: only a hint for buffered reading
        cursor.u64();
        break;
      case 0x2e: // STOP
        return pop();
      case 0x28: // MARK
        push(MARK);
        break;
      case 0x30: // POP
        if (stack.at(-1) === MARK) stack.pop();
        else pop();
        break;
      case 0x31: // POP_MARK
        popToMark();
        break;
      case 0x32: // DUP
        push(top());
        break;

      case 0x4e: // NONE
        push(null);
        break;
      case 0x88: // NEWTRUE
        push(true);
        break;
      case 0x89: // NEWFALSE
        push(false);
        break;
      case 0x4a: // BININT
        push(cursor.i32());
        break;
      case 0x4b: // BININT1
        push(cursor.u8());
        break;
      case 0x4d: // BININT2
        push(cursor.u16());
        break;
      case 0x8a: // LONG1
        push(integer(cursor.u8()));
        break;
      case 0x8b: // LONG4
        push(integer(cursor.u32()));
        break;
      case 0x47: // BINFLOAT
        push(cursor.f64BigEndian());
        break;

      case 0x58: // BINUNICODE
        push(cursor.utf8(cursor.u32()));
        break;
      case 0x8c: // SHORT_BINUNICODE
        push(cursor.utf8(cursor.u8()));
        break;
      case 0x8d: // BINUNICODE8
        push(cursor.utf8(cursor.u64()));
        break;
      case 0x55: // SHORT_BINSTRING: text of Python 2
        push(latin1(cursor.bytes(cursor.u8())));
        break;
      case 0x54: // BINSTRING
        push(latin1(cursor.bytes(cursor.u32())));
        break;
      case 0x43: // SHORT_BINBYTES
        push(cursor.bytes(cursor.u8()));
        break;
      case 0x42: // BINBYTES
        push(cursor.bytes(cursor.u32()));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        push(cursor.bytes(cursor.u64()));
        break;

      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        push([]);
        break;
      case 0x85: // TUPLE1
        push([pop()]);
        break;
      case 0x86: // TUPLE2
        push([pop(), pop()].reverse());
        break;
      case 0x87: // TUPLE3
        push([pop(), pop(), pop()].reverse());
        break;
      case 0x74: // TUPLE
      case 0x6c: // LIST
        push(popToMark());
        break;
      case 0x61: {
        // APPEND
        const value = pop();
        list(top()).push(value);
        break;
      }
      case 0x65: {
        // APPENDS
        const values = popToMark();
        const target = list(top());
        for (const value of values) target.push(value);
        break;
      }
      case 0x7d: // EMPTY_DICT
        push(new Map());
        break;
      case 0x64: {
        // DICT
        const items = popToMark();
        const dict = new Map();
        setItems(dict, items);
        push(dict);
        break;
      }
      case 0x73: {
        // SETITEM
        const value = pop();
        const key = pop();
        setItems(top(), [key, value]);
        break;
      }
      case 0x75: {
        // SETITEMS
        const items = popToMark();
        setItems(top(), items);
        break;
      }
      case 0x8f: // EMPTY_SET
        push(new Set());
        break;
      case 0x90: {
        // ADDITEMS
        const items = popToMark();
        const target = top();
        if (!(target instanceof Set)) return fail("is not a valid pickle (items for what is no set)");
        for (const item of items) target.add(item);
        break;
      }
      case 0x91: // FROZENSET
        push(new Set(popToMark()));
        break;

      case 0x71: // BINPUT
        memo.set(cursor.u8(), top());
        break;
      case 0x72: // LONG_BINPUT
        memo.set(cursor.u32(), top());
        break;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        break;
      case 0x68: // BINGET
        push(recall(cursor.u8()));
        break;
      case 0x6a: // LONG_BINGET
        push(recall(cursor.u32()));
        break;

      case 0x63: // GLOBAL
        push(findGlobal(cursor.line(), cursor.line(), fail));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const name = text(pop());
        push(findGlobal(text(pop()), name, fail));
        break;
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const values = args(pop());
        push(builder(pop()).build(values, machine));
        break;
      }
      case 0x92: {
        // NEWOBJ_EX
        const named = pop();
        if (named instanceof Map && named.size) fail("builds an object with named arguments");
        const values = args(pop());
        push(builder(pop()).build(values, machine));
        break;
      }
      case 0x62: {
        // BUILD: attributes. Of a dict (a state dict's _metadata) they say nothing about tensors.
        const state = pop();
        const target = top();
        if (target instanceof Instance) target.setState(state);
        else if (!(target instanceof Map)) fail("sets attributes of what is no plain object");
        break;
      }
      case 0x51: // BINPERSID
        push(load(pop()));
        break;
      default:
        fail(
          code < 0x20 || code > 0x7e
            ? `is not a pickle we read (instruction 0x${code.toString(16)})`
            : `is not a pickle we read (instruction ${quote(String.fromCharCode(code))})`,
        );
    }
  }
}
