-- What the city's auditors ask for: every write of a business and what belongs to it is noted by
-- triggers of the team's own, whoever wrote it. A change that took effect twice would stand here
-- twice. Nothing in it knows of Afield.

CREATE TABLE audit (
  n      INTEGER PRIMARY KEY,
  entity TEXT NOT NULL,
  op     TEXT NOT NULL,
  id     TEXT NOT NULL,
  value  TEXT
);

CREATE TRIGGER audit_business_insert AFTER INSERT ON business BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('business', 'create', NEW.id, NEW.seats);
END;
CREATE TRIGGER audit_business_update AFTER UPDATE ON business BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('business', 'update', NEW.id, NEW.seats);
END;
CREATE TRIGGER audit_business_delete AFTER DELETE ON business BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('business', 'delete', OLD.id, OLD.seats);
END;

CREATE TRIGGER audit_contact_insert AFTER INSERT ON contact BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('contact', 'create', NEW.id, NEW.phone);
END;
CREATE TRIGGER audit_contact_update AFTER UPDATE ON contact BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('contact', 'update', NEW.id, NEW.phone);
END;
CREATE TRIGGER audit_contact_delete AFTER DELETE ON contact BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('contact', 'delete', OLD.id, OLD.phone);
END;

CREATE TRIGGER audit_inspection_insert AFTER INSERT ON inspection BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('inspection', 'create', NEW.id, NEW.notes);
END;
CREATE TRIGGER audit_inspection_update AFTER UPDATE ON inspection BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('inspection', 'update', NEW.id, NEW.notes);
END;
CREATE TRIGGER audit_inspection_delete AFTER DELETE ON inspection BEGIN
  INSERT INTO audit (entity, op, id, value) VALUES ('inspection', 'delete', OLD.id, OLD.notes);
END;

CREATE TRIGGER audit_violation_insert AFTER INSERT ON violation BEGIN
  INSERT INTO audit (entity, op, id, value)
  VALUES ('violation', 'create', NEW.inspection_id || ' ' || NEW.number, NEW.comment);
END;
CREATE TRIGGER audit_violation_update AFTER UPDATE ON violation BEGIN
  INSERT INTO audit (entity, op, id, value)
  VALUES ('violation', 'update', NEW.inspection_id || ' ' || NEW.number, NEW.comment);
END;
CREATE TRIGGER audit_violation_delete AFTER DELETE ON violation BEGIN
  INSERT INTO audit (entity, op, id, value)
  VALUES ('violation', 'delete', OLD.inspection_id || ' ' || OLD.number, OLD.comment);
END;
