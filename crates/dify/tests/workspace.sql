-- One workspace, whose private key a test lays into storage.
INSERT INTO tenants (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Workspace');
