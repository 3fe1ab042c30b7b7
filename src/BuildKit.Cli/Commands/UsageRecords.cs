using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.Client.Progress;
using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Commands;

/// <summary>Records of the build cache in the forms of <c>du</c> and <c>prune</c> (spec 08 §3.2).</summary>
internal static class UsageRecords
{
    /// <summary>Titles of the table.</summary>
    public const string Header = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED";

    /// <summary>A record as a line of the table; the last column was always empty and stays so.</summary>
    public static string Row(UsageRecord record) =>
        $"{record.ID + (record.Mutable ? "*" : ""),-71}\t{(record.InUse ? "false" : "true"),-11}\t{GoNumber.Bytes(record.Size)}{(record.Shared ? "*" : "")}\t";

    /// <summary>A record in full.</summary>
    public static void AddBlock(Table table, UsageRecord record)
    {
        table.Add($"ID:\t{record.ID}");
        if (record.Parents.Count > 0)
            table.Add($"Parents:\t{string.Join(';', record.Parents)}");
        if (record.CreatedAt is not null)
            table.Add($"Created at:\t{GoTime.Default(record.CreatedAt)}");
        table.Add($"Mutable:\t{Truth(record.Mutable)}");
        table.Add($"Reclaimable:\t{Truth(!record.InUse)}");
        table.Add($"Shared:\t{Truth(record.Shared)}");
        table.Add($"Size:\t{GoNumber.Bytes(record.Size)}");
        if (record.Description.Length > 0)
            table.Add($"Description:\t{record.Description}");
        table.Add($"Usage count:\t{record.UsageCount}");
        if (record.LastUsedAt is not null)
            table.Add($"Last used:\t{GoTime.Default(record.LastUsedAt)}");
        if (record.RecordType.Length > 0)
            table.Add($"Type:\t{record.RecordType}");
        table.Add("");
    }

    /// <summary>A record for templates.</summary>
    public static TemplateValue ToValue(UsageRecord record) => new TemplateValue.Members(
    [
        ("ID", "id", TemplateValue.Of(record.ID)),
        ("Mutable", "mutable", TemplateValue.Of(record.Mutable)),
        ("InUse", "inUse", TemplateValue.Of(record.InUse)),
        ("Size", "size", TemplateValue.Of(record.Size)),
        ("CreatedAt", "createdAt", Time(record.CreatedAt ?? new() { Seconds = 0 })),
        ("LastUsedAt", "lastUsedAt", record.LastUsedAt is null ? TemplateValue.Nothing : Time(record.LastUsedAt)),
        ("UsageCount", "usageCount", TemplateValue.Of(record.UsageCount)),
        ("Parents", "parents", TemplateValue.Of(record.Parents)),
        ("Description", "description", TemplateValue.Of(record.Description)),
        ("RecordType", "recordType", TemplateValue.Of(record.RecordType)),
        ("Shared", "shared", TemplateValue.Of(record.Shared)),
    ]);

    private static TemplateValue Time(Google.Protobuf.WellKnownTypes.Timestamp time) => TemplateValue.Of(StatusJson.Time(time), GoTime.Default(time));

    private static string Truth(bool truth) => truth ? "true" : "false";
}
