"""The meanings of the codes in acknowledgements, from the code lists of UN/EDIFACT and X12."""

# 0085, with the codes that were removed in D.01A.
EDIFACT = {
    "1": "UNA not supported", "2": "syntax version or level not supported",
    "3": "message version or release not supported", "4": "service segment missing or invalid",
    "5": "trailer and header do not agree", "6": "data segment missing or invalid",
    "7": "interchange recipient not actual recipient", "8": "too many data elements in the segment",
    "9": "mandatory data element missing", "10": "data element does not conform to its specification",
    "11": "password invalid", "12": "invalid value", "13": "missing", "14": "value not supported in this position",
    "15": "not supported in this position", "16": "too many constituents", "17": "no agreement",
    "18": "unspecified error", "19": "invalid decimal notation", "20": "character invalid as service character",
    "21": "invalid character", "22": "invalid service character", "23": "unknown interchange sender",
    "24": "too old", "25": "test indicator not supported", "26": "duplicate detected",
    "27": "security function not supported", "28": "references do not match",
    "29": "control count does not match the number received", "30": "functional groups and messages mixed",
    "31": "more than one message type in a group", "32": "lower level empty",
    "33": "invalid occurrence outside a message or functional group", "34": "nesting indicator not allowed",
    "35": "too many repetitions of a data element or segment", "36": "too many repetitions of a segment group",
    "37": "invalid type of characters", "38": "missing digit in front of the decimal mark",
    "39": "data element too long", "40": "data element too short", "41": "permanent communication network error",
    "42": "temporary communication network error", "43": "unknown interchange recipient",
    "44": "application temporarily unavailable", "45": "trailing separator", "46": "character set not supported",
    "47": "envelope functionality not supported", "48": "dependency condition violated",
}  # fmt: skip
# 720 and 620
X12_SEGMENT = {
    "1": "unrecognised segment", "2": "unexpected segment", "3": "required segment missing",
    "4": "loop occurs too often", "5": "segment occurs too often", "6": "segment not in this transaction set",
    "7": "segment not in proper sequence", "8": "segment has data element errors",
    "I4": "segment not used in this implementation", "I6": "dependent segment missing", "I7": "loop occurs too seldom",
    "I8": "segment occurs too seldom", "I9": "dependent segment not used",
}  # fmt: skip
# 723 and 621
X12_ELEMENT = {
    "1": "required data element missing", "2": "conditionally required data element missing",
    "3": "too many data elements", "4": "data element too short", "5": "data element too long",
    "6": "invalid character", "7": "invalid code value", "8": "invalid date", "9": "invalid time",
    "10": "exclusion condition violated", "12": "too many repetitions", "13": "too many components",
    "I6": "code value not used in this implementation", "I9": "dependent data element missing",
    "I10": "data element not used in this implementation", "I11": "too few repetitions",
    "I12": "pattern does not match", "I13": "dependent data element not used",
}  # fmt: skip
# 718 and 618, without the codes of security
X12_SET = {
    "1": "transaction set not supported", "2": "transaction set trailer missing",
    "3": "control numbers in header and trailer do not match", "4": "number of segments does not match the count",
    "5": "one or more segments in error", "6": "missing or invalid transaction set identifier",
    "7": "missing or invalid transaction set control number", "18": "transaction set not in functional group",
    "23": "control number not unique within the group", "I5": "one or more segments in error",
    "I6": "implementation convention not supported",
}  # fmt: skip
# 716, without the codes of security, which differ from release to release
X12_GROUP = {
    "1": "functional group not supported", "2": "functional group version not supported",
    "3": "functional group trailer missing", "4": "control numbers in header and trailer do not agree",
    "5": "number of transaction sets does not match the count", "6": "group control number violates syntax",
}  # fmt: skip
# I18
X12_INTERCHANGE = {
    "001": "control numbers in header and trailer do not match", "002": "standard not supported",
    "003": "version of the controls not supported", "004": "segment terminator invalid",
    "005": "sender's qualifier invalid", "006": "sender's identification invalid",
    "007": "receiver's qualifier invalid", "008": "receiver's identification invalid",
    "009": "receiver unknown", "010": "authorization information qualifier invalid",
    "011": "authorization information invalid", "012": "security information qualifier invalid",
    "013": "security information invalid", "014": "date invalid", "015": "time invalid",
    "016": "standards identifier invalid", "017": "version invalid", "018": "control number invalid",
    "019": "acknowledgement request invalid", "020": "test indicator invalid", "021": "number of groups invalid",
    "022": "control structure invalid", "023": "premature end of file", "024": "interchange content invalid",
    "025": "duplicate interchange control number", "026": "data element separator invalid",
    "027": "component separator invalid",
}  # fmt: skip
