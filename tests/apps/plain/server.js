// A plain Node server, as a tutorial has it: no packages, one handler. PORT=0 picks a port.
'use strict';

const http = require('node:http');

const page = 'x'.repeat(64 * 1024);

const server = http.createServer((request, response) => {
  if (request.method === 'POST') {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      response.writeHead(201, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify({ received: Buffer.concat(pieces).length }));
    });
  } else if (request.url.startsWith('/page')) {
    response.end(page);
  } else if (request.url.startsWith('/late')) {
    // In two pieces, so that its length is not known beforehand: it goes out in chunks.
    response.write(page);
    setTimeout(() => response.end('late\n'), 5);
  } else {
    response.statusCode = 404;
    response.end('not here\n');
  }
});

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`);
});
