// A real OpenID provider (npm oidc-provider) for the tests, steered by lines of JSON on its standard input.
//
// node oidc.mjs NODE_MODULES PORT ACCOUNTS. ACCOUNTS are the claims of each account, as JSON. Only the login page is replaced:
// it logs in the account that `login_hint` names, or `ada`, and asks for no consent.

import {
  constants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  sign as rsaSign,
} from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, accountsJson] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(join(modules, 'oidc-provider/lib/index.js')).href);

const issuer = `http://127.0.0.1:${port}`;
const accounts = JSON.parse(accountsJson);
const AUDIENCE = 'https://meed.example.com';

function generate() {
  const jwk = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  return { ...jwk, kid: randomUUID(), alg: 'RS256', use: 'sig' };
}

function publicOf({ kty, n, e, kid, alg, use }) {
  return { kty, n, e, kid, alg, use };
}

let keys = [generate()];
const other = generate();
const fetches = { keys: 0, discovery: 0 };

function provide() {
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['test'] },
    clients: [
      {
        client_id: 'meed',
        client_secret: 'a secret: with/every+thing&else=%25',
        redirect_uris: ['https://meed.example.com/auth/oidc/callback'],
      },
      {
        client_id: 'game',
        token_endpoint_auth_method: 'none',
        redirect_uris: ['https://game.example.com/done'],
      },
    ],
    claims: { openid: ['sub', 'groups', 'level'] },
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'play',
          audience: AUDIENCE,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    ttl: { AccessToken: 600, IdToken: 600, Session: 3600, Grant: 3600, Interaction: 600 },
    extraTokenClaims: (ctx, token) => accounts[token.accountId],
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...accounts[id] }) }),
    interactions: { url: (ctx, interaction) => `/login/${interaction.uid}` },
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile');
      grant.addResourceScope(AUDIENCE, 'play');
      await grant.save();
      return grant;
    },
  });
  const answer = provider.callback();
  return async (request, response) => {
    if (request.url.startsWith('/login/')) {
      const { params } = await provider.interactionDetails(request, response);
      const result = { login: { accountId: params.login_hint ?? 'ada' } };
      await provider.interactionFinished(request, response, result);
      return;
    }
    fetches.keys += request.url === '/jwks';
    fetches.discovery += request.url === '/.well-known/openid-configuration';
    answer(request, response);
  };
}

let answer = provide();
let server;

async function start() {
  server = createServer((request, response) => answer(request, response));
  await new Promise((done) => server.listen(Number(port), '127.0.0.1', done));
  return {};
}

async function stop() {
  const closed = new Promise((done) => server.close(done));
  server.closeAllConnections();
  await closed;
  return {};
}

const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// Signs what the provider itself would not issue.
function sign({ header, claims, by }) {
  const protectedHeader = { alg: 'RS256', kid: keys[0].kid, typ: 'at+jwt', ...header };
  const message = `${base64(protectedHeader)}.${base64(claims)}`;
  const signature = () => {
    if (by === 'nobody') return '';
    if (by === 'public') {
      const pem = createPublicKey({ key: keys[0], format: 'jwk' }).export({ type: 'spki', format: 'pem' });
      return createHmac('sha256', pem).update(message).digest('base64url');
    }
    const key = createPrivateKey({ key: by === 'other' ? other : keys[0], format: 'jwk' });
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const padding = protectedHeader.alg === 'PS256' ? pss : {};
    return rsaSign('sha256', Buffer.from(message), { key, ...padding }).toString('base64url');
  };
  return { token: `${message}.${signature()}` };
}

const commands = {
  start,
  stop,
  sign,
  // A new key signs. The old one stays published if it is kept.
  rotate({ keep }) {
    keys = keep ? [generate(), ...keys] : [generate()];
    answer = provide();
    return {};
  },
  accounts({ accounts: changed }) {
    Object.assign(accounts, changed);
    return {};
  },
  fetches: () => fetches,
  keys: () => ({ keys: keys.map(publicOf) }),
};

await start();
console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(await commands[command.do](command)));
}
process.exit();
