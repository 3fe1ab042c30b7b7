using BuildKit.Session.Secrets;

namespace BuildKit.Cli.Values;

/// <summary>Values of <c>--secret</c> (spec 08 §2.5).</summary>
internal static class SecretValue
{
    /// <summary>Reads a value.</summary>
    public static (string Id, SecretSource Source) Parse(string text)
    {
        List<string> fields;
        try
        {
            fields = CsvRecord.Parse(text);
        }
        catch (FormatException failure)
        {
            throw new CommandException($"failed to parse csv secret: {failure.Message}");
        }
        var (id, file, variable, type) = ("", "", "", "");
        foreach (var field in fields)
        {
            var equals = field.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
                throw new CommandException($"invalid field '{field}' must be a key=value pair");
            var value = field[(equals + 1)..];
            var key = field[..equals].ToLowerInvariant();
            switch (key)
            {
                case "id":
                    id = value;
                    break;
                case "src" or "source":
                    file = value;
                    break;
                case "env":
                    variable = value;
                    break;
                case "type":
                    type = value is "file" or "env" ? value : throw new CommandException($"unsupported secret type \"{value}\"");
                    break;
                default:
                    throw new CommandException($"unexpected key '{key}' in '{field}'");
            }
        }
        if (type == "env" && variable.Length == 0)
            (variable, file) = (file, "");
        var source = variable.Length > 0 ? SecretSource.FromEnvironment(variable)
            : file.Length > 0 ? SecretSource.FromFile(file)
            : SecretSource.FromId(id);
        return (id, source);
    }
}
