// Perfetto's trace processor on a trace: node trace_processor.mjs ENGINE TRACE SQL...
//
// ENGINE is a directory with the WebAssembly build and its loader, as Perfetto's user interface ships them. Prints one
// line a query: {"columns": [...], "rows": [[...]]}, each cell a string; NULL is the string NULL.
// Owns being a browser's worker to the loader, and the messages that it takes. Must not know what is asked.

import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

const TRACE_CHUNK = 8 << 20;
const METHOD = { append: 1, finalize: 2, query: 3 };
const CELL = { null: 1, integer: 2, double: 3, string: 4, blob: 5 };

// The loader runs in a realm of its own, where there is no trace of Node: it asks for what a worker has, and takes the
// WebAssembly build by a synchronous request.
function startEngine(directory) {
  const has = (name) => fs.existsSync(path.join(directory, name));
  const loader = ['engine_bundle.js', 'engine_bundle.node.js'].find(has);
  if (!loader) throw new Error(`${directory} has no engine_bundle.js`);

  class FileRequest {
    open(_method, url) {
      this.file = path.join(directory, path.basename(url));
    }
    send() {
      const bytes = fs.readFileSync(this.file);
      this.response = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
      this.status = 200;
    }
  }
  const quiet = () => {};
  const realm = vm.createContext({
    console: { log: quiet, debug: quiet, info: quiet, warn: quiet, error: console.error },
    location: { href: 'http://localhost/' },
    performance,
    setTimeout,
    TextDecoder,
    TextEncoder,
    URL,
    WorkerGlobalScope: Object,
    XMLHttpRequest: FileRequest,
  });
  realm.self = realm;
  // It prefers the build with 64-bit memory where a module of nothing but such a memory compiles. Not every package has
  // that build; without it that module does not: section 5, with the bit for 64 bits in its flags.
  if (!has('trace_processor_memory64.wasm')) {
    vm.runInContext(
      `WebAssembly.Module = class extends WebAssembly.Module {
        constructor(code) {
          if (code[8] === 5 && code[11] & 4) throw new WebAssembly.CompileError('no build with 64-bit memory');
          super(code);
        }
      };`,
      realm,
    );
  }
  vm.runInContext(fs.readFileSync(path.join(directory, loader), 'utf8'), realm, { filename: loader });
  // It knows bytes by its own realm's type.
  const RealmBytes = vm.runInContext('Uint8Array', realm);
  const replies = [];
  const port = { postMessage: (bytes) => replies.push(Buffer.from(bytes)) };
  realm.onmessage({ data: port });
  return {
    call(request) {
      port.onmessage({ data: new RealmBytes(request) });
      return Buffer.concat(replies.splice(0));
    },
  };
}

// Protobuf, as little as these messages need.

function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

const integerField = (number, value) => Buffer.concat([varint(number * 8), varint(value)]);
const bytesField = (number, bytes) => Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  get ended() {
    return this.at >= this.bytes.length;
  }
  varint() {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      const byte = this.bytes[this.at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  take(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  // [number, value]: a bigint, or bytes.
  field() {
    const key = Number(this.varint());
    switch (key & 7) {
      case 0: return [key >> 3, this.varint()];
      case 1: return [key >> 3, this.take(8)];
      case 2: return [key >> 3, this.take(Number(this.varint()))];
      case 5: return [key >> 3, this.take(4)];
      default: throw new Error(`a field of wire type ${key & 7}`);
    }
  }
}

function* fields(bytes) {
  for (const reader = new Reader(bytes); !reader.ended; ) yield reader.field();
}

function* varints(bytes) {
  for (const reader = new Reader(bytes); !reader.ended; ) yield reader.varint();
}

class TraceProcessor {
  constructor(directory) {
    this.engine = startEngine(directory);
    this.calls = 0;
  }

  // The results of one call, all of which are in field `result` of its replies.
  *call(method, args, result) {
    const request = [integerField(1, ++this.calls), integerField(2, method), args];
    for (const [, reply] of fields(this.engine.call(bytesField(1, Buffer.concat(request))))) {
      for (const [number, value] of fields(reply)) {
        if (number === 5) throw new Error(`trace processor gave up: ${value}`);
        if (number === result) yield value;
      }
    }
  }

  finish(method, args, result, errorField) {
    for (const answer of this.call(method, args, result)) {
      for (const [number, value] of fields(answer)) if (number === errorField) throw new Error(String(value));
    }
  }

  load(file) {
    const trace = fs.openSync(file);
    const chunk = Buffer.alloc(TRACE_CHUNK);
    for (let length; (length = fs.readSync(trace, chunk)) > 0; ) {
      this.finish(METHOD.append, bytesField(101, chunk.subarray(0, length)), 201, 2);
    }
    fs.closeSync(trace);
    this.finish(METHOD.finalize, Buffer.alloc(0), 212, 1);
  }

  query(sql) {
    const columns = [];
    const cells = [];
    const args = bytesField(103, bytesField(1, Buffer.from(sql)));
    for (const answer of this.call(METHOD.query, args, 203)) {
      for (const [number, value] of fields(answer)) {
        if (number === 1) columns.push(String(value));
        if (number === 2) throw new Error(`${sql}\n${value}`);
        if (number === 3) cells.push(...cellsOf(value));
      }
    }
    const rows = [];
    while (cells.length > rows.length * columns.length) {
      rows.push(cells.slice(rows.length * columns.length, (rows.length + 1) * columns.length));
    }
    return { columns, rows };
  }
}

// A batch has the cells' types in order, and the values of each type on their own.
function* cellsOf(batch) {
  const types = [], integers = [], doubles = [], blobs = [];
  let strings = [];
  for (const [number, value] of fields(batch)) {
    if (number === 1) types.push(...[...varints(value)].map(Number));
    if (number === 2) integers.push(...varints(value));
    if (number === 3) for (let at = 0; at < value.length; at += 8) doubles.push(value.readDoubleLE(at));
    if (number === 4) blobs.push(value);
    if (number === 5) strings = String(value).split('\0');
  }
  const next = { integers: integers.values(), doubles: doubles.values(), blobs: blobs.values(), strings: strings.values() };
  for (const type of types) {
    switch (type) {
      case CELL.null: yield 'NULL'; break;
      case CELL.integer: yield String(BigInt.asIntN(64, next.integers.next().value)); break;
      case CELL.double: yield String(next.doubles.next().value); break;
      case CELL.string: yield next.strings.next().value; break;
      case CELL.blob: yield next.blobs.next().value.toString('hex'); break;
      default: throw new Error(`a cell of type ${type}`);
    }
  }
}

const [directory, trace, ...queries] = process.argv.slice(2);
if (queries.length === 0) {
  console.error('usage: node trace_processor.mjs ENGINE TRACE SQL...');
  process.exit(2);
}
try {
  const processor = new TraceProcessor(directory);
  // The loader finishes in a microtask.
  await new Promise(setImmediate);
  processor.load(trace);
  for (const sql of queries) console.log(JSON.stringify(processor.query(sql)));
} catch (error) {
  console.error(String(error.message ?? error));
  process.exit(1);
}
