using System.Globalization;
using System.Text;

namespace BuildKit.Linux.Patterns;

/// <summary>
/// Matches the small part of regular expressions that patterns are translated to, in time proportional to
/// text × expression whatever the pattern: all states advance together over the characters.
/// </summary>
internal sealed class PathExpression
{
    private readonly Step[] _steps;

    private PathExpression(Step[] steps) => _steps = steps;

    internal enum StepKind
    {
        Set,
        Fork,
        TextBegin,
        TextEnd,
        WordBoundary,
        NoWordBoundary,
        Match,
    }

    /// <summary>Reads an expression; null when it is malformed.</summary>
    public static PathExpression? TryParse(string expression)
    {
        var steps = new PathExpressionParser(expression).Parse();
        return steps is null ? null : new PathExpression(steps);
    }

    /// <summary>Whether a match starts at the beginning of the text (the expression holds its own end mark).</summary>
    public bool IsMatch(string text)
    {
        var count = _steps.Length;
        Span<int> current = count <= 256 ? stackalloc int[count] : new int[count];
        Span<int> next = count <= 256 ? stackalloc int[count] : new int[count];
        Span<int> seenAt = count <= 256 ? stackalloc int[count] : new int[count];
        seenAt.Fill(-1);
        var live = 0;
        var before = -1;
        var position = 0;
        Add(0, before, PeekRune(text, 0, out var width), 0, seenAt, current, ref live);
        while (true)
        {
            for (var i = 0; i < live; i++)
            {
                if (_steps[current[i]].Kind == StepKind.Match)
                    return true;
            }
            if (live == 0 || position >= text.Length)
                return false;
            var rune = PeekRune(text, position, out width);
            position += width;
            var after = PeekRune(text, position, out _);
            var nextLive = 0;
            for (var i = 0; i < live; i++)
            {
                var step = _steps[current[i]];
                if (step.Kind == StepKind.Set && step.Set!.Contains(rune))
                    Add(current[i] + 1, rune, after, position, seenAt, next, ref nextLive);
            }
            var swap = current;
            current = next;
            next = swap;
            live = nextLive;
        }
    }

    private void Add(int index, int before, int after, int position, Span<int> seenAt, Span<int> list, ref int live)
    {
        while (seenAt[index] != position)
        {
            seenAt[index] = position;
            var step = _steps[index];
            switch (step.Kind)
            {
                case StepKind.Fork:
                    Add(step.Other, before, after, position, seenAt, list, ref live);
                    break;
                case StepKind.TextBegin when before >= 0:
                case StepKind.TextEnd when after >= 0:
                case StepKind.WordBoundary when IsWord(before) == IsWord(after):
                case StepKind.NoWordBoundary when IsWord(before) != IsWord(after):
                    return;
                case StepKind.Set:
                case StepKind.Match:
                    list[live++] = index;
                    return;
            }
            index = step.Kind == StepKind.Fork && step.Jump ? step.Target : index + 1;
        }
    }

    private static int PeekRune(string text, int at, out int width)
    {
        if (at >= text.Length)
        {
            width = 0;
            return -1;
        }
        if (Rune.TryGetRuneAt(text, at, out var rune))
        {
            width = rune.Utf16SequenceLength;
            return rune.Value;
        }
        width = 1;
        return Rune.ReplacementChar.Value;
    }

    private static bool IsWord(int rune) => rune is >= 0 and < 128 && (char.IsAsciiLetterOrDigit((char)rune) || rune == '_');

    /// <summary>One state. A fork goes on at <see cref="Other"/> and at the next step, or at <see cref="Target"/> if it jumps.</summary>
    internal sealed record Step(StepKind Kind, RuneSet? Set = null)
    {
        public int Other { get; set; }

        public bool Jump { get; set; }

        public int Target { get; set; }
    }

    /// <summary>Characters by ranges and by Unicode category.</summary>
    internal sealed class RuneSet
    {
        private readonly List<(int Low, int High)> _ranges = [];
        private readonly List<(Func<UnicodeCategory, bool> Has, bool Negated)> _categories = [];
        private readonly List<(RuneSet Set, bool Negated)> _sets = [];

        public bool Negated { get; set; }

        public RuneSet Add(int low, int high)
        {
            _ranges.Add((low, high));
            return this;
        }

        public void Add(Func<UnicodeCategory, bool> has, bool negated) => _categories.Add((has, negated));

        public void Add(RuneSet set, bool negated) => _sets.Add((set, negated));

        public bool Contains(int rune)
        {
            var inside = false;
            foreach (var (low, high) in _ranges)
                inside |= low <= rune && rune <= high;
            foreach (var (set, negated) in _sets)
                inside |= set.Contains(rune) != negated;
            foreach (var (has, negated) in _categories)
                inside |= has(Rune.GetUnicodeCategory(new Rune(rune))) != negated;
            return inside != Negated;
        }
    }
}
