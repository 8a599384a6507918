-- The passwords of Meed's roles, which roles.sql has created. The files are secrets of the container.
\set ON_ERROR_STOP on
\set owner `cat /run/secrets/database-owner-password`
\set serve `cat /run/secrets/database-serve-password`
ALTER ROLE meed_owner PASSWORD :'owner';
ALTER ROLE meed_serve PASSWORD :'serve';
