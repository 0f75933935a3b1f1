"""Attribute values, condition expressions and update expressions. Only top-level attributes are supported.

Sources: "Condition and filter expressions, operators, and functions", "Using update expressions", "Expression
attribute names", "Naming rules and data types", "Quotas in Amazon DynamoDB".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

from ministack.services._dynamodb_keywords import AWS_KEYWORDS as RESERVED_WORDS

Item = dict[str, Any]

_NUMBER_DIGITS = 38
_EXACT = Context(prec=_NUMBER_DIGITS, traps=[Inexact, InvalidOperation])
_ORDERED = ("S", "N", "B")
_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+\-]|[#:]?\w+)")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


TOO_MANY_DIGITS = "Number overflow. Attempting to store a number with more than 38 significant digits"
SET_OPERAND = "Incorrect operand type for operator or function in SET"


class ServiceError(Exception):
    """An error response of DynamoDB. `more` has the fields other than the message."""

    def __init__(self, code: str, message: str = "", status: int = 400, **more: Any) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.more = more


def invalid(message: str) -> ServiceError:
    """Return a ValidationException."""
    return ServiceError("ValidationException", message)


# --- Values --------------------------------------------------------------------------------------


@lru_cache(maxsize=10_000)
def normalize_number(text: str) -> str:
    """Return a number as DynamoDB stores it: without leading or trailing zeros, with at most 38 digits."""
    try:
        number = Decimal(text).normalize(_EXACT)
    except (InvalidOperation, Inexact):
        raise invalid(TOO_MANY_DIGITS) from None
    if not number.is_finite() or (number and not -130 <= number.adjusted() <= 125):
        raise invalid("Number overflow or underflow")
    return f"{number:f}" if number else "0"


def normalize(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attribute value as DynamoDB stores it."""
    if len(value) != 1:
        raise invalid("Supplied AttributeValue is empty or has more than one type")
    ((kind, content),) = value.items()
    if kind == "N":
        return {"N": normalize_number(content)}
    if kind == "M":
        return {"M": {name: normalize(each) for name, each in content.items()}}
    if kind == "L":
        return {"L": [normalize(each) for each in content]}
    if kind not in ("S", "B", "BOOL", "NULL", "SS", "NS", "BS"):
        raise invalid(f"{kind} is not a type")
    return dict(value)


def size_of(item: Mapping[str, Any]) -> int:
    """Return the size of an item in bytes ("DynamoDB item sizes and formats")."""
    return sum(len(name) if name.isascii() else len(name.encode()) for name in item) + sum(map(_size, item.values()))


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content) if content.isascii() else len(content.encode())
    if kind == "N":
        return len(content) // 2 + 2
    if kind == "M":
        return 3 + size_of(content)
    if kind == "L":
        return 3 + sum(map(_size, content))
    return len(content) if kind in ("B", "SS", "NS", "BS") else 1


# --- Parsing -------------------------------------------------------------------------------------


class Given(NamedTuple):
    """The item, names and values with which an expression is evaluated."""

    item: Mapping[str, Any]
    names: Mapping[str, str]
    values: Mapping[str, Any]


Operand = Callable[[Given], Any]  # A function that returns an attribute value, or None.
Condition = Callable[[Given], bool]


class Update(NamedTuple):
    """A parsed update expression: the attributes or placeholders to set, to remove and to add to."""

    sets: Sequence[tuple[str, Operand]]
    removes: Sequence[str]
    adds: Sequence[tuple[str, str]]


class _Parser:
    """A recursive descent parser for expressions. `used` has the placeholders in the expression."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != re.sub(r"\s", "", text):
            raise invalid(f"Invalid expression: {text}")
        self.at = 0
        self.ranges: list[tuple[str, str]] = []  # The lower and upper bound of each BETWEEN.
        self.used = {token for token in self.tokens if token[0] in "#:"}

    def peek(self) -> str:
        return self.tokens[self.at].upper() if self.at < len(self.tokens) else ""

    def next(self) -> str:
        if self.at == len(self.tokens):
            raise invalid("Invalid expression: it ends too early")
        self.at += 1
        token: str = self.tokens[self.at - 1]
        return token

    def accept(self, token: str) -> bool:
        found = self.peek() == token
        self.at += found
        return found

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise invalid(f"Invalid expression: {token} expected")

    def end(self) -> None:
        if self.at < len(self.tokens):
            raise invalid(f"Invalid expression: unexpected {self.tokens[self.at]}")

    def path(self) -> str:
        name = self.next()
        if name[0] != "#" and not name[0].isalpha():
            raise invalid(f"Invalid expression: {name} is not an attribute")
        if name.upper() in RESERVED_WORDS:
            raise invalid(f"Invalid expression: {name} is a reserved word")
        return name

    def placeholder(self) -> str:
        name = self.next()
        if name[0] != ":":
            raise invalid(f"Invalid expression: {name} is not a value")
        return name

    def operand(self) -> Operand:
        if self.peek().startswith(":"):
            name = self.placeholder()
            return lambda given: given.values[name]
        path = self.path()
        return lambda given: given.item.get(given.names.get(path, path))

    # --- Conditions

    def condition(self) -> Condition:
        left = self._conjunction()
        while self.accept("OR"):
            left = _either(left, self._conjunction())
        return left

    def _conjunction(self) -> Condition:
        left = self._negation()
        while self.accept("AND"):
            left = _both(left, self._negation())
        return left

    def _negation(self) -> Condition:
        if self.accept("NOT"):
            inner = self._negation()
            return lambda given: not inner(given)
        if self.accept("("):
            inner = self.condition()
            self.expect(")")
            return inner
        if self.tokens[self.at + 1 : self.at + 2] == ["("]:
            return self._function()
        return self._comparison()

    def _function(self) -> Condition:
        name = self.next()
        self.expect("(")
        first = self.operand()
        second = self.operand() if self.accept(",") else None
        self.expect(")")
        if name == "attribute_exists" and second is None:
            return lambda given: first(given) is not None
        if name == "attribute_not_exists" and second is None:
            return lambda given: first(given) is None
        if name == "attribute_type" and second is not None:
            return lambda given: second(given)["S"] in (first(given) or {})
        if name == "begins_with" and second is not None:
            return lambda given: (first(given) or {}).get("S", "").startswith(second(given)["S"]) and bool(first(given))
        raise invalid(f"Invalid function name or number of operands: {name}")

    def _comparison(self) -> Condition:
        left = self.operand()
        sign = self.next()
        if sign.upper() == "BETWEEN":
            bounds = self.tokens[self.at : self.at + 3]
            low = self.operand()
            self.expect("AND")
            high = self.operand()
            if bounds[0][0] == bounds[2][0] == ":":
                self.ranges.append((bounds[0], bounds[2]))
            return lambda given: _compare(">=", left(given), low(given)) and _compare("<=", left(given), high(given))
        if sign not in ("=", "<>", *_COMPARISONS):
            raise invalid(f"Invalid expression: {sign} is not a comparator")
        right = self.operand()
        return lambda given: _compare(sign, left(given), right(given))

    # --- Updates

    def update(self) -> Update:
        sets: list[tuple[str, Operand]] = []
        removes: list[str] = []
        adds: list[tuple[str, str]] = []
        clauses = set()
        while self.at < len(self.tokens):
            clause = self.next().upper()
            if clause not in ("SET", "REMOVE", "ADD") or clause in clauses:
                raise invalid(f"Invalid UpdateExpression: unexpected {clause}")
            clauses.add(clause)
            while True:
                path = self.path()
                if clause == "SET":
                    self.expect("=")
                    sets.append((path, self._sum()))
                elif clause == "ADD":
                    adds.append((path, self.placeholder()))
                else:
                    removes.append(path)
                if not self.accept(","):
                    break
        return Update(sets, removes, adds)

    def _sum(self) -> Operand:
        left = self._set_operand()
        for sign, factor in (("+", 1), ("-", -1)):
            if self.accept(sign):
                right = self._set_operand()
                return _sum_of(left, right, factor)
        return left

    def _set_operand(self) -> Operand:
        if self.tokens[self.at : self.at + 2] == ["if_not_exists", "("]:
            self.at += 2
            first = self.operand()
            self.expect(",")
            second = self._set_operand()
            self.expect(")")
            return lambda given: first(given) or second(given)
        return self.operand()


def _both(left: Condition, right: Condition) -> Condition:
    return lambda given: left(given) and right(given)


def _either(left: Condition, right: Condition) -> Condition:
    return lambda given: left(given) or right(given)


def _comparable(value: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, content),) = normalize(value).items()
    return kind, Decimal(content) if kind == "N" else content.encode() if kind == "S" else content


def _compare(sign: str, left: Any, right: Any) -> bool:
    """Compare two values. Values of different types are unequal; strings compare by their UTF-8 bytes."""
    if left is None or right is None:
        return sign == "<>"
    (left_kind, left_content), (right_kind, right_content) = _comparable(left), _comparable(right)
    same_kind = left_kind == right_kind
    if sign in ("=", "<>"):
        return (same_kind and left_content == right_content) == (sign == "=")
    return same_kind and left_kind in _ORDERED and _COMPARISONS[sign](left_content, right_content)


def _sum_of(left: Operand, right: Operand, factor: int) -> Operand:
    def add(given: Given) -> dict[str, Any]:
        first, second = left(given), right(given)
        if first is None or second is None:
            raise invalid("The provided expression refers to an attribute that does not exist in the item")
        if "N" not in first or "N" not in second:
            raise invalid(SET_OPERAND)
        return {"N": add_numbers(first["N"], second["N"], factor)}

    return add


def _add(left: Any, right: Any) -> dict[str, Any]:
    if "N" not in left or "N" not in right:
        raise invalid("An operand in the update expression has an incorrect data type")
    return {"N": add_numbers(left["N"], right["N"])}


@lru_cache(maxsize=10_000)
def add_numbers(left: str, right: str, factor: int = 1) -> str:
    """Return the sum of two numbers. Raise ServiceError if it has more than 38 digits."""
    try:
        return normalize_number(str(_EXACT.add(Decimal(left), factor * Decimal(right))))
    except Inexact:
        raise invalid(TOO_MANY_DIGITS) from None


@lru_cache(maxsize=1000)
def _parse(kind: str, text: str) -> tuple[Any, set[str], list[tuple[str, str]]]:
    parser = _Parser(text)
    parsed: Any = parser.update() if kind == "update" else parser.condition()
    parser.end()
    if kind == "update":
        paths = [*(path for path, _ in parsed.sets), *parsed.removes, *(path for path, _ in parsed.adds)]
        if len(set(paths)) < len(paths):
            raise invalid("Invalid UpdateExpression: Two document paths overlap with each other")
    return parsed, parser.used, parser.ranges


def parse(request: Mapping[str, Any]) -> tuple[Update | None, Condition | None, Condition | None]:
    """Return a request's update, condition and key condition. Raise a ValidationException if one is invalid."""
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    parsed: list[Any] = []
    used: set[str] = set()
    ranges: list[tuple[str, str]] = []
    for kind, field in (
        ("update", "UpdateExpression"),
        ("condition", "ConditionExpression"),
        ("condition", "KeyConditionExpression"),
    ):
        text = request.get(field)
        if text == "":
            raise invalid(f"Invalid {field}: The expression can not be empty")
        expression, placeholders, bounds = _parse(kind, text) if text else (None, set(), [])
        parsed.append(expression)
        used |= placeholders
        ranges += bounds
    given = {*names, *values}
    if given != used:
        raise invalid(f"Placeholders are not defined, or unused in expressions: {', '.join(sorted(given ^ used))}")
    for value in values.values():
        normalize(value)
    if any(not _compare("<=", values[low], values[high]) for low, high in ranges):
        raise invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
    return parsed[0], parsed[1], parsed[2]


def apply(update: Update | None, item: Mapping[str, Any], keys: Sequence[str], request: Mapping[str, Any]) -> Item:
    """Return an item after an update. Operands use the item's values from before the update."""
    given = Given(item, request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {}))
    after = dict(item)
    if update is None:
        return after
    for path, operand in update.sets:
        value = operand(given)
        if value is None:
            raise invalid("The provided expression refers to an attribute that does not exist in the item")
        after[given.names.get(path, path)] = normalize(value)
    for path in update.removes:
        after.pop(given.names.get(path, path), None)
    for path, placeholder in update.adds:
        name = given.names.get(path, path)
        after[name] = _add(item.get(name, {"N": "0"}), given.values[placeholder])
    if any(after.get(key) != item.get(key) for key in keys):
        raise invalid("Cannot update attribute. This attribute is part of the key")
    return after
