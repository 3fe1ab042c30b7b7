using System.Globalization;
using BuildKit.Linux;

namespace BuildKit.Worker.FileOps;

/// <summary>Symbolic and octal modes of a copy (spec 02 §6.7 "modeStr"), with umask 0.</summary>
internal sealed class ModeString
{
    private const uint User = 0x1C0, Group = 0x38, Others = 7;

    private readonly uint? _octal;
    private readonly List<(uint Who, char Operator, string Permissions)> _changes = [];

    private ModeString(uint? octal) => _octal = octal;

    /// <summary>Reads a mode.</summary>
    /// <exception cref="FormatException"><c>invalid syntax</c>.</exception>
    internal static ModeString Parse(string text)
    {
        if (text.Length > 0 && char.IsAsciiDigit(text[0]))
        {
            if (text.AsSpan().ContainsAnyExceptInRange('0', '7'))
                throw new FormatException($"strconv.ParseInt: parsing \"{text}\": invalid syntax");
            var value = text.TrimStart('0').Length > 6 ? int.MaxValue : Convert.ToInt32(text, 8);
            return value > 0xFFF ? throw Invalid() : new ModeString((uint)value);
        }
        var mode = new ModeString(null);
        foreach (var clause in text.Split(','))
            mode.ParseClause(clause);
        return mode;
    }

    /// <summary>The 12 permission bits a file gets.</summary>
    internal uint Apply(in FileStat stat)
    {
        if (_octal is { } octal)
            return octal;
        var bits = stat.Permissions;
        foreach (var (who, op, permissions) in _changes)
            bits = Change(bits, stat.IsDirectory, who, op, permissions);
        return bits;
    }

    private void ParseClause(string clause)
    {
        var at = 0;
        uint who = 0;
        for (; at < clause.Length && "ugoa".Contains(clause[at], StringComparison.Ordinal); at++)
        {
            who |= clause[at] switch
            {
                'u' => User | UnixMode.SetUid,
                'g' => Group | UnixMode.SetGid,
                'o' => Others | UnixMode.Sticky,
                _ => UnixMode.PermissionMask,
            };
        }
        if (who == 0)
            who = UnixMode.PermissionMask;
        if (at == clause.Length)
            throw Invalid();
        while (at < clause.Length)
        {
            var op = clause[at++];
            if (op is not ('+' or '-' or '='))
                throw Invalid();
            var start = at;
            while (at < clause.Length && "rwxXstugo".Contains(clause[at], StringComparison.Ordinal))
                at++;
            _changes.Add((who, op, clause[start..at]));
        }
    }

    private static uint Change(uint bits, bool isDirectory, uint who, char op, string permissions)
    {
        uint value = 0;
        foreach (var permission in permissions)
        {
            value |= permission switch
            {
                'r' => 0x124u,
                'w' => 0x92u,
                'x' => 0x49u,
                'X' => op == '+' && (isDirectory || (bits & 0x49) != 0) ? 0x49u : 0,
                's' => UnixMode.SetUid | UnixMode.SetGid,
                't' => UnixMode.Sticky,
                'u' => Spread((bits >> 6) & 7),
                'g' => Spread((bits >> 3) & 7),
                _ => Spread(bits & 7),
            };
        }
        value &= who;
        return op switch
        {
            '+' => bits | value,
            '-' => bits & ~value,
            _ => (bits & ~(who & UnixMode.AccessMask)) | value,
        };
    }

    private static uint Spread(uint three) => (three << 6) | (three << 3) | three;

    private static FormatException Invalid() => new("invalid syntax");

    public override string ToString() => _octal?.ToString(CultureInfo.InvariantCulture) ?? string.Join(',', _changes);
}
