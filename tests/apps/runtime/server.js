// Requests whose memory is known to Node to the byte: GET /keep?bytes=N&ms=M waits, then keeps a buffer of N bytes.
'use strict';

const http = require('node:http');

const kept = [];

const server = http.createServer(async (request, response) => {
  const { searchParams } = new URL(request.url, 'http://localhost');
  const [bytes, ms] = ['bytes', 'ms'].map((name) => Number(searchParams.get(name)));
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
  // Not out of a pool, and filled: nothing of it is promised only.
  kept.push(Buffer.alloc(bytes, 1));
  response.end('kept\n');
});

server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
