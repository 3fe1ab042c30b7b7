using System.Globalization;
using System.Text;

namespace BuildKit.Cli.Text;

/// <summary>
/// The part of Go's template language that <c>--format</c> is used with (spec 08 §3.1): text, fields, <c>json</c>,
/// <c>len</c>, <c>range</c>, <c>if</c>, <c>else</c>, <c>end</c>, quoted texts, pipes and trimming.
/// </summary>
internal sealed class OutputTemplate
{
    private readonly Node _root;

    private OutputTemplate(Node root) => _root = root;

    /// <summary>Reads a template; <c>json</c> alone means all of it as JSON.</summary>
    /// <exception cref="CommandException">It does not parse.</exception>
    public static OutputTemplate Parse(string text) => new(new Parser(text == "json" ? "{{json .}}" : text).Parse());

    /// <summary>Applies the template; a newline follows.</summary>
    public string Apply(TemplateValue value)
    {
        var output = new StringBuilder();
        _root.Run(value, output);
        return output.Append('\n').ToString();
    }

    private static CommandException Error(string text) => new($"template: :1: {text}");

    private abstract record Node
    {
        public abstract void Run(TemplateValue dot, StringBuilder output);
    }

    private sealed record TextNode(string Text) : Node
    {
        public override void Run(TemplateValue dot, StringBuilder output) => output.Append(Text);
    }

    private sealed record PrintNode(Func<TemplateValue, TemplateValue> Value) : Node
    {
        public override void Run(TemplateValue dot, StringBuilder output) => output.Append(Value(dot).Print());
    }

    private sealed record ListNode(List<Node> Nodes) : Node
    {
        public override void Run(TemplateValue dot, StringBuilder output)
        {
            foreach (var node in Nodes)
                node.Run(dot, output);
        }
    }

    private sealed record BlockNode(bool IsRange, Func<TemplateValue, TemplateValue> Value, Node Body, Node Otherwise) : Node
    {
        public override void Run(TemplateValue dot, StringBuilder output)
        {
            var value = Value(dot);
            if (value.IsFalse)
                Otherwise.Run(dot, output);
            else if (!IsRange)
                Body.Run(dot, output);
            else
                foreach (var item in Items(value))
                    Body.Run(item, output);
        }

        private static IEnumerable<TemplateValue> Items(TemplateValue value) => value switch
        {
            TemplateValue.Sequence list => list.Items,
            TemplateValue.Members { IsMap: true } map => map.Fields.Select(static field => field.Value),
            _ => throw new CommandException($"template: :1: range can't iterate over {value.Print()}"),
        };
    }

    private sealed class Parser(string text)
    {
        private int _position;

        public Node Parse()
        {
            var node = ParseList(out var ended);
            return ended.Length == 0 ? node : throw Error($"unexpected {{{{{ended}}}}}");
        }

        private ListNode ParseList(out string ended)
        {
            var nodes = new List<Node>();
            while (_position < text.Length)
            {
                var open = text.IndexOf("{{", _position, StringComparison.Ordinal);
                var literal = open < 0 ? text[_position..] : text[_position..open];
                if (open < 0)
                {
                    _position = text.Length;
                    nodes.Add(new TextNode(literal));
                    break;
                }
                var action = Action(open, ref literal);
                if (literal.Length > 0)
                    nodes.Add(new TextNode(literal));
                if (action is "end" or "else")
                {
                    ended = action;
                    return new ListNode(nodes);
                }
                nodes.Add(ParseAction(action));
            }
            ended = "";
            return new ListNode(nodes);
        }

        /// <summary>Takes an action from its opening braces; trims the text around it where it says so.</summary>
        private string Action(int open, ref string literal)
        {
            var close = open + 2;
            for (var isQuoted = false; ; close++)
            {
                if (close >= text.Length)
                    throw Error(text[(open + 2)..].Trim() == "." ? "illegal number syntax: \".\"" : "unclosed action");
                if (text[close] == '\\' && isQuoted)
                    close++;
                else if (text[close] == '"')
                    isQuoted = !isQuoted;
                else if (!isQuoted && string.CompareOrdinal(text, close, "}}", 0, 2) == 0)
                    break;
            }
            var action = text[(open + 2)..close];
            _position = close + 2;
            if (action.StartsWith("- ", StringComparison.Ordinal))
            {
                literal = literal.TrimEnd();
                action = action[1..];
            }
            if (action.EndsWith(" -", StringComparison.Ordinal))
            {
                action = action[..^1];
                while (_position < text.Length && char.IsWhiteSpace(text[_position]))
                    _position++;
            }
            return action.Trim();
        }

        private Node ParseAction(string action)
        {
            if (action.StartsWith("/*", StringComparison.Ordinal))
                return new TextNode("");
            var words = Words(action);
            if (words.Count == 0)
                throw Error("missing value for command");
            if (words[0] is not ("range" or "if"))
                return new PrintNode(Pipeline(words));
            var value = Pipeline(words.GetRange(1, words.Count - 1));
            var body = ParseList(out var ended);
            var otherwise = new ListNode([]);
            if (ended == "else")
                otherwise = ParseList(out ended);
            return ended == "end" ? new BlockNode(words[0] == "range", value, body, otherwise) : throw Error("unexpected EOF");
        }

        private static Func<TemplateValue, TemplateValue> Pipeline(List<string> words)
        {
            Func<TemplateValue, TemplateValue>? value = null;
            var from = 0;
            for (var i = 0; i <= words.Count; i++)
            {
                if (i < words.Count && words[i] != "|")
                    continue;
                value = Call(words.GetRange(from, i - from), value);
                from = i + 1;
            }
            return value!;
        }

        private static Func<TemplateValue, TemplateValue> Call(List<string> words, Func<TemplateValue, TemplateValue>? piped)
        {
            if (words.Count == 0)
                throw Error("missing value for command");
            if (words[0] is not ("json" or "len"))
                return words.Count == 1 ? Operand(words[0]) : throw Error($"unexpected <{words[1]}> in operand");
            var argument = words.Count == 2 ? Operand(words[1]) : piped ?? throw Error($"wrong number of args for {words[0]}: want 1 got 0");
            return words[0] == "json"
                ? dot => TemplateValue.Of(argument(dot).ToJson())
                : dot => TemplateValue.Of(Length(argument(dot)));
        }

        private static long Length(TemplateValue value) => value switch
        {
            TemplateValue.Sequence list => list.Items.Count,
            TemplateValue.Members map => map.Fields.Count,
            _ => Encoding.UTF8.GetByteCount(value.Print()),
        };

        private static Func<TemplateValue, TemplateValue> Operand(string word)
        {
            if (word[0] == '"' || word[0] == '`')
            {
                var literal = TemplateValue.Of(Unquote(word));
                return _ => literal;
            }
            if (long.TryParse(word, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
                return _ => TemplateValue.Of(number);
            if (word[0] != '.')
                throw Error($"function \"{word}\" not defined");
            var path = word == "." ? [] : word[1..].Split('.');
            return dot =>
            {
                foreach (var name in path)
                    dot = Member(dot, name);
                return dot;
            };
        }

        private static TemplateValue Member(TemplateValue value, string name)
        {
            if (value is TemplateValue.Members members)
            {
                foreach (var (field, _, member) in members.Fields)
                {
                    if (field == name)
                        return member;
                }
                if (members.IsMap)
                    return TemplateValue.Of("<no value>");
            }
            throw new CommandException($"template: :1: can't evaluate field {name}");
        }

        private static string Unquote(string word)
        {
            if (word.Length < 2 || word[^1] != word[0])
                throw Error("unterminated quoted string");
            var body = word[1..^1];
            if (word[0] == '`')
                return body;
            var result = new StringBuilder();
            for (var i = 0; i < body.Length; i++)
            {
                if (body[i] != '\\' || i + 1 == body.Length)
                {
                    result.Append(body[i]);
                    continue;
                }
                result.Append(body[++i] switch { 'n' => '\n', 't' => '\t', 'r' => '\r', var other => other });
            }
            return result.ToString();
        }

        private static List<string> Words(string action)
        {
            var words = new List<string>();
            for (var i = 0; i < action.Length;)
            {
                if (char.IsWhiteSpace(action[i]))
                {
                    i++;
                    continue;
                }
                var from = i;
                if (action[i] is '"' or '`')
                {
                    var quote = action[i++];
                    while (i < action.Length && action[i] != quote)
                        i += action[i] == '\\' && quote == '"' ? 2 : 1;
                    i = Math.Min(action.Length, i + 1);
                }
                else if (action[i] == '|')
                {
                    i++;
                }
                else
                {
                    while (i < action.Length && !char.IsWhiteSpace(action[i]) && action[i] != '|')
                        i++;
                }
                words.Add(action[from..i]);
            }
            return words;
        }
    }
}
