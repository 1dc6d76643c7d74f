'use strict';
// Has one route of any Node server take exactly so many page faults more a request:
//
//   KNOB='POST /saju=30' node --require ./knob.js server.js
//
// Owns the fresh pages. They are WebAssembly's, which are reserved at once and grow in place: whatever malloc has, and
// keeps, it has no part in them.

const http = require('node:http');

const PAGE = 4096;
// By what such a memory grows.
const STEP = 64 * 1024;
const [, route, count] = /^(\S+ \S+)=(\d+)$/.exec(process.env.KNOB ?? '') ?? [];

if (route) {
  const memory = new WebAssembly.Memory({ initial: 0, maximum: 65536 });
  const touch = (count) => {
    const end = memory.buffer.byteLength;
    memory.grow(Math.ceil((count * PAGE) / STEP));
    const fresh = new Uint8Array(memory.buffer, end);
    for (let page = 0; page < count; page++) fresh[page * PAGE] = 1;
  };
  const { emit } = http.Server.prototype;
  http.Server.prototype.emit = function (event, request, ...rest) {
    const is = event === 'request' && `${request.method} ${request.url.split('?', 1)[0]}`;
    if (is === route) touch(Number(count));
    return emit.call(this, event, request, ...rest);
  };
}
